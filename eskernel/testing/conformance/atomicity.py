"""An append is there whole or not at all; what was stored never changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eskernel.contracts import EventStore
from eskernel.errors import EskernelError, NotStorable
from eskernel.testing.conformance.tools import (
    CODEC,
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    payloads_of,
    require_equal,
    require_raises,
    require_unchanged,
    stream_of,
)
from eskernel.values import Event


def _refused(
    store: EventStore, errors: tuple[type[Exception], ...], events: Sequence[Event], why: str
) -> None:
    """Require that a stream refuses events after its second, and takes good ones afterwards."""
    sequence = len(stream_of(store, STREAM))
    before = log_of(store)

    def append() -> int:
        return store.append(STREAM, events, expected_sequence=sequence, append_id=1)

    require_raises(errors, append)
    require_unchanged(store, before, why)
    add(store, STREAM, sequence, "good", append_id=1)
    require_equal(payloads_of(store, STREAM)[-1], "good", f"the payload stored after {why}")


def an_append_with_an_unstorable_event_stores_nothing(store: EventStore) -> None:
    """NotStorable for a payload or metadata in the middle, on a new stream as on an old one."""
    _refused(store, (NotStorable,), made(STREAM, 0, "a", object(), "c"), "object()")
    first, last = made(STREAM, 1, "a", "b")
    _refused(store, (NotStorable,), [first, last._replace(header={"k": object()})], "metadata")
    sealed = [event.sealed(CODEC.pack, CODEC.unpack) for event in made(STREAM, 2, "a", "b")]
    _refused(store, (NotStorable,), [*sealed, *made(STREAM, 4, {"k": lambda: 0})], "a lambda")


def an_append_with_a_hole_stores_nothing(store: EventStore) -> None:
    """ValueError for sequences that are not `expected_sequence + 1` and on."""
    add(store, STREAM, 0, "one", "two")
    for number, sequences in enumerate(([3, 5], [4], [3, 3], [4, 3], [2, 3], [3, 4, 4], [0])):
        events = [Event(STREAM, sequence + number, "bad", None) for sequence in sequences]
        _refused(store, (ValueError,), events, f"sequences {sequences}")


def an_append_without_events_is_refused(store: EventStore) -> None:
    """ValueError; neither a stream nor a position comes of it."""
    _refused(store, (ValueError,), [], "an empty append to a new stream")
    _refused(store, (ValueError,), (), "an empty append")


def an_append_with_an_event_of_another_stream_stores_nothing(store: EventStore) -> None:
    """Neither in the stream written to, nor in the one the event names."""
    add(store, OTHER, 0, "one")
    errors = (ValueError, EskernelError)
    for sequence, stranger in enumerate((OTHER, (STREAM[1], STREAM[0]), ("", ""))):
        first, last = made(STREAM, sequence, "a", "b")
        events = [first, last._replace(stream_id=stranger)]
        _refused(store, errors, events, f"an event of {stranger}")


def what_the_writer_changes_later_is_not_stored(store: EventStore) -> None:
    """Payload, metadata and the list of events are the writer's again after the append."""
    payload: dict[str, Any] = {"lines": [1], "seen": {1}}
    metadata: dict[str, Any] = {"user": {"name": "Ada"}}
    events = [Event(STREAM, 1, "happened", payload, metadata)]
    position = store.append(STREAM, events, expected_sequence=0)
    payload["lines"].append(2)
    payload["seen"].clear()
    metadata["user"]["name"] = "Eve"
    metadata["more"] = True
    events.append(events[0])
    wanted = {"lines": [1], "seen": {1}}, {"user": {"name": "Ada"}}
    require_unchanged(
        store, [Event(STREAM, 1, "happened", *wanted, position=position)], "the writer's change"
    )


def what_a_reader_changes_is_not_stored(store: EventStore) -> None:
    """Nor does another reader see it."""
    add(store, STREAM, 0, {"lines": [1]}, [{"deep": []}])
    for events in (stream_of(store, STREAM), log_of(store)):
        events[0].payload["lines"].append(2)
        events[0].payload["more"] = True
        events[1].payload[0]["deep"].append(1)
        events.clear()
    wanted = [{"lines": [1]}, [{"deep": []}]]
    require_equal(payloads_of(store, STREAM), wanted, "payloads of the stream")
    require_equal([event.payload for event in log_of(store)], wanted, "payloads of the log")


def metadata_a_reader_changes_is_not_stored(store: EventStore) -> None:
    """As payloads: each reader has its own."""
    event = Event(STREAM, 1, "happened", None, {"user": ["Ada"]})
    store.append(STREAM, [event], expected_sequence=0)
    for events in (stream_of(store, STREAM), log_of(store)):
        events[0].metadata["user"].append("Eve")
    for events in (stream_of(store, STREAM), log_of(store)):
        require_equal(dict(events[0].metadata), {"user": ["Ada"]}, "metadata")


CHECKS = (
    an_append_with_an_unstorable_event_stores_nothing,
    an_append_with_a_hole_stores_nothing,
    an_append_without_events_is_refused,
    an_append_with_an_event_of_another_stream_stores_nothing,
    what_the_writer_changes_later_is_not_stored,
    what_a_reader_changes_is_not_stored,
    metadata_a_reader_changes_is_not_stored,
)
