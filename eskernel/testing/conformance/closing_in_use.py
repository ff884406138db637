"""Closing a store that other threads are using."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Semaphore
from typing import Any, Final, NamedTuple

from eskernel.contracts import EventStore
from eskernel.errors import EskernelError
from eskernel.testing.conformance.checking import Reopen
from eskernel.testing.conformance.threads import DEADLINE, at_once
from eskernel.testing.conformance.tools import (
    add,
    log_of,
    payloads_of,
    require,
    require_equal,
    stream_of,
)
from eskernel.values import StreamId

_STREAMS: Final = tuple(("order", str(number)) for number in range(3))
_WARM: Final = 3
"""Appends each writer makes before the store is closed."""


class _Written(NamedTuple):
    acknowledged: int
    unknown: bool
    """Whether one more may be stored."""


def closing_while_others_use_the_store_hangs_nobody(store: EventStore) -> None:
    """What they ask for either succeeds or fails with an EskernelError."""
    _close_in_use(store)


def what_was_acknowledged_until_closing_is_stored(
    store: EventStore, reopen: Reopen[EventStore]
) -> None:
    """Whatever failed because of the closing is not, unless its outcome was unknown."""
    written = _close_in_use(store)
    store = reopen(store)
    for stream_id, (acknowledged, unknown) in zip(_STREAMS, written, strict=True):
        found = payloads_of(store, stream_id)
        require_equal(found, [*range(len(found))], f"payloads of {stream_id}")
        missing = f"{acknowledged} appends were acknowledged, and {len(found)} are there"
        require(acknowledged <= len(found) <= acknowledged + unknown, missing)
        add(store, stream_id, len(found), len(found))


def _close_in_use(store: EventStore) -> list[_Written]:
    """Close a store in use; return what was written to each stream."""
    warm = Semaphore(0)

    def close() -> None:
        for _ in _STREAMS:
            warm.acquire(timeout=DEADLINE)
        store.close()

    writers = [partial(_write, store, stream_id, warm) for stream_id in _STREAMS]
    results: list[Any] = at_once([close], [*writers, partial(_read, store), partial(_read, store)])
    return results[1 : 1 + len(writers)]


def _write(
    store: EventStore, stream_id: StreamId, warm: Semaphore, running: Callable[[], bool]
) -> _Written:
    """Append until the store refuses, or is closed and has taken one more."""
    acknowledged, open_before = 0, True
    while open_before:
        open_before = running()
        try:
            add(store, stream_id, acknowledged, acknowledged)
        except EskernelError as error:
            if acknowledged < _WARM:
                warm.release()
                raise  # before the store was closed
            return _Written(acknowledged, getattr(error, "outcome_unknown", False))
        acknowledged += 1
        if acknowledged == _WARM:
            warm.release()
    return _Written(acknowledged, unknown=False)


def _read(store: EventStore, running: Callable[[], bool]) -> None:
    open_before = True
    while open_before:
        open_before = running()
        try:
            events = stream_of(store, _STREAMS[0])
            log_of(store)
        except EskernelError:
            return
        sequences = [event.sequence for event in events]
        require_equal(sequences, [*range(1, len(events) + 1)], "sequences read meanwhile")


CHECKS = (closing_while_others_use_the_store_hangs_nobody,)
DURABILITY_CHECKS = (what_was_acknowledged_until_closing_is_stored,)
