"""Watcher: the thread that is told of appends, by a change stream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Final

import pymongo
import structlog
from pymongo.errors import OperationFailure

from eskernel_stores.mongo.database import Database, Document
from eskernel_stores.mongo.schema import EVENTS

INTERVAL: Final = 0.01
"""Seconds between two hints: all that is appended meanwhile shares one."""

FIRST_DELAY: Final = 0.1
"""Seconds before another try; doubled with every failure."""

LONGEST_DELAY: Final = 5.0
"""Seconds before another try at most."""

_AWAITED: Final = 0.5  # seconds that the server waits for appends before it says there are none
_PATIENCE: Final = 10.0  # seconds in which it must say so
_NO_REPLICA_SET: Final = 40573
_CHANGES: Final[list[Document]] = [
    {"$changeStream": {}},
    {"$match": {"operationType": "insert"}},
    {"$project": {"_id": 1}},  # nobody looks at what was appended
]

_log = structlog.get_logger("eskernel")


class Watcher:
    """Watches the events' collection, and begins anew whenever the server is lost.

    Its daemon thread starts at once. A server that is in no replica set has nothing to watch: the
    thread ends.

    Args:
        database: where the events are.
        tell: called after appends, and whenever it has begun to watch, for what was missed.
    """

    def __init__(self, database: Database, tell: Callable[[], None]) -> None:
        self._events = database.collection(EVENTS)
        self._tell = tell
        self._stopped = threading.Event()
        self._delay = FIRST_DELAY  # the thread's
        self._thread = threading.Thread(target=self._run, name="eskernel-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end soon; returns at once, and may be called twice."""
        self._stopped.set()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, if another calls this."""
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch()
            except Exception as error:  # noqa: BLE001 - readers look without hints, too
                if isinstance(error, OperationFailure) and error.code == _NO_REPLICA_SET:
                    return
                self._note(error)
                self._stopped.wait(self._delay)
                self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _watch(self) -> None:
        """Pass changes on until stopped; raises PyMongoError when the server is lost."""
        with pymongo.timeout(_PATIENCE):
            changes: Any = self._events.aggregate_raw_batches(
                _CHANGES, maxAwaitTimeMS=round(1000 * _AWAITED)
            )
        with closing(changes):
            self._delay = FIRST_DELAY
            self._tell()
            while changes.alive and not self._stopped.is_set():
                with pymongo.timeout(_PATIENCE):
                    found = changes.try_next()  # all there are, as bytes that nobody decodes
                if found is not None and not self._stopped.is_set():
                    self._tell()
                    self._stopped.wait(INTERVAL)

    def _note(self, error: Exception) -> None:
        """Log that hints are missing, once until there are some again."""
        if self._delay == FIRST_DELAY and not self._stopped.is_set():
            with suppress(Exception):
                _log.warning("hints_interrupted", error=repr(error))
