"""What the driver's errors mean for a store, and whether a write may have happened all the same."""

from __future__ import annotations

import re
import threading
from typing import Any, Final

from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from eskernel.errors import CorruptStore, EskernelError, NotStorable, StoreUnavailable

CLOSED: Final = "the store is closed; open it again"

DUPLICATE: Final = 11000
"""What a server calls an insert that a unique index refuses."""

_WRITES: Final = frozenset({"insert", "update", "delete", "findAndModify", "bulkWrite"})
_REFUSED: Final = frozenset({10107, 13435})
"""NotWritablePrimary and NotPrimaryNoSecondaryOk: said before a server does anything."""
_ADDED: Final = re.compile(
    r" \(configured timeouts|, Timeout:|, Topology Description:|, full error:"
)
_BROKEN_OFF: Final = frozenset({24, 50, 64, 91, 189, 262, 11600, 11601, 11602})
"""Codes of what ends a command while it is at work, or waits for others to have it too."""


class SentWrites(CommandListener):
    """Counts the writes that each thread has sent, to tell whether one may have happened."""

    def __init__(self) -> None:
        self._counts = threading.local()

    @property
    def count(self) -> int:
        """Writes sent by this thread since its last `reset`."""
        count: int = getattr(self._counts, "count", 0)
        return count

    def reset(self) -> None:
        """Begin to count anew for this thread."""
        self._counts.count = 0

    def started(self, event: CommandStartedEvent) -> None:
        """Count a command that is about to be sent, if it writes."""
        if event.command_name in _WRITES:
            self._counts.count = self.count + 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


def explained(error: PyMongoError | InvalidBSON, sent: int, *, closed: bool) -> EskernelError:
    """Return what an error means.

    Args:
        error: the driver's.
        sent: how many writes were sent before it was raised; every try of one counts.
        closed: whether the store was closed meanwhile.
    """
    if isinstance(error, InvalidBSON):
        return CorruptStore(f"MongoDB returned what cannot be read: {error}")
    if isinstance(error, DocumentTooLarge):
        return NotStorable("document", f"{error}; write less at once")
    unknown = _may_be_stored(error, sent)
    if closed:
        return StoreUnavailable(CLOSED, outcome_unknown=unknown)
    after = "it may be stored, repeat with the same command_id" if unknown else "nothing was stored"
    return StoreUnavailable(f"MongoDB: {_said(error)}; {after}", outcome_unknown=unknown)


def _may_be_stored(error: PyMongoError, sent: int) -> bool:
    """Return whether a write that failed may have happened, or may happen yet.

    The driver sends a write once more if the first try may have been lost. What is known for
    certain of the second says nothing of the first.
    """
    if not sent or error.has_error_label("NoWritesPerformed"):
        return False
    if isinstance(error, BulkWriteError):
        return _bulk_may_be_stored(error.details)
    code = getattr(error, "code", None)
    if isinstance(error, NotPrimaryError):
        code = error.details.get("code") if isinstance(error.details, dict) else None
        return sent > 1 or code not in _REFUSED
    if isinstance(error, OperationFailure):
        certain = not isinstance(error, ExecutionTimeout | WriteConcernError)
        return sent > 1 or not certain or code in _BROKEN_OFF
    return True


def _bulk_may_be_stored(details: Any) -> bool:
    codes = {one.get("code") for one in details.get("writeErrors", ())}
    return bool(
        details.get("writeConcernErrors") or details.get("nInserted") or codes & _BROKEN_OFF
    )


def _said(error: PyMongoError) -> str:
    """Return the error in words, without the settings and states that the driver adds."""
    text = _ADDED.split(str(error))[0]
    if isinstance(error, AutoReconnect):
        return text or type(error).__name__
    if isinstance(error, BulkWriteError):
        problems = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        return "; ".join(str(one.get("errmsg")) for one in problems[:3])
    return text
