"""What the checks are written with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

from eskernel.codec import Codec
from eskernel.contracts import EventStore, SnapshotStore
from eskernel.errors import ConcurrencyConflict
from eskernel.values import Event, Range, Snapshot, StreamId

E = TypeVar("E", bound=Exception)

STREAM: Final = ("bank_account", "acc-1")
OTHER: Final = ("bank_account", "acc-2")
ALL: Final = Range()
CODEC: Final = Codec()


def require(condition: bool, message: str) -> None:
    """Raise AssertionError unless the condition holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise AssertionError(message)


def require_equal(actual: object, expected: object, what: str) -> None:
    """Raise AssertionError unless both are equal."""
    require(actual == expected, f"{what}: expected {_brief(expected)}, found {_brief(actual)}")


def require_increasing(numbers: Sequence[int], what: str) -> None:
    """Raise AssertionError unless each number is larger than the one before."""
    for before, after in pairwise(numbers):
        require(before < after, f"{what}: {after} comes after {before}")


def require_raises(errors: type[E] | tuple[type[E], ...], call: Callable[[], object]) -> E:
    """Return the error a call raises; AssertionError if it returns instead."""
    try:
        result = call()
    except errors as error:
        return error
    raise AssertionError(f"expected {errors}, but the call returned {_brief(result)}")


def require_conflict(error: object, stream_id: StreamId, expected: int, actual: int) -> None:
    """Raise AssertionError unless this is the conflict of these numbers."""
    require(isinstance(error, ConcurrencyConflict), f"expected a conflict, found {error!r}")
    facts = [getattr(error, name) for name in ("stream_id", "expected", "actual")]
    require_equal(facts, [stream_id, expected, actual], "the conflict's facts")


def made(
    stream_id: StreamId, expected_sequence: int, *payloads: Any, type: str = "happened"
) -> list[Event]:
    """Return open events for the end of a stream, one for each payload."""
    numbered = enumerate(payloads, expected_sequence + 1)
    return [Event(stream_id, sequence, type, payload) for sequence, payload in numbered]


def add(
    store: EventStore,
    stream_id: StreamId,
    expected_sequence: int,
    *payloads: Any,
    append_id: int | None = None,
    type: str = "happened",
) -> int:
    """Append events of these payloads and return the last position."""
    events = made(stream_id, expected_sequence, *payloads, type=type)
    return store.append(stream_id, events, expected_sequence=expected_sequence, append_id=append_id)


def with_event(events: list[Event], event: Event) -> list[Event]:
    """Fold into a list, in place: O(n) where adding lists would be O(n**2)."""
    events.append(event)
    return events


def stream_of(store: EventStore, stream_id: StreamId, range: Range = ALL) -> list[Event]:
    """Return the events of a stream."""
    return store.fold(stream_id, with_event, [], range)


def payloads_of(store: EventStore, stream_id: StreamId, range: Range = ALL) -> list[Any]:
    """Return the payloads of a stream's events."""
    return [event.payload for event in stream_of(store, stream_id, range)]


def log_of(store: EventStore, range: Range = ALL) -> list[Event]:
    """Return the events of the log."""
    return page_of(store, range)[0]


def page_of(
    store: EventStore,
    range: Range = ALL,
    limit: int | None = None,
    *,
    types: Collection[str] | None = None,
    aggregate_types: Collection[str] | None = None,
) -> tuple[list[Event], int]:
    """Return events of the log and the position reached."""
    events: list[Event] = []
    return store.fold_all(
        with_event, events, range, limit=limit, types=types, aggregate_types=aggregate_types
    )


def latest(store: SnapshotStore, stream_id: StreamId = STREAM) -> Snapshot:
    """Return a stream's newest snapshot; AssertionError if it has none."""
    snapshot = store.load_latest(stream_id)
    if snapshot is None:
        raise AssertionError(f"no snapshot of {stream_id!a}, though one was stored")
    return snapshot


def require_unchanged(store: EventStore, before: list[Event], after_what: str) -> None:
    """Raise AssertionError unless log and streams hold exactly these events."""
    require_equal(log_of(store), before, f"the log after {after_what}")
    require_equal(
        store.last_position(), before[-1].position if before else 0, f"position after {after_what}"
    )
    for stream_id in {STREAM, OTHER, *(event.stream_id for event in before)}:
        expected = [event for event in before if event.stream_id == stream_id]
        require_equal(stream_of(store, stream_id), expected, f"{stream_id} after {after_what}")


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are alike deep down: in type, order, digits and time zone."""
    return CODEC.pack(one) == CODEC.pack(other)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"
