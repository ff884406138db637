"""Sequences in a stream, positions in the log."""

from __future__ import annotations

from eskernel.contracts import EventStore
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    require,
    require_equal,
    require_increasing,
    stream_of,
)


def a_stream_is_read_in_sequence_order(store: EventStore) -> None:
    """Sequences run 1, 2, 3 through many appends, past the lengths where digits change."""
    sequence = 0
    for size in (1, 2, 7, 90, 30):
        add(store, STREAM, sequence, *range(sequence, sequence + size))
        add(store, OTHER, sequence, *range(-sequence, size - sequence))
        sequence += size
    events = stream_of(store, STREAM)
    require_equal([event.sequence for event in events], [*range(1, 131)], "sequences")
    require_equal([event.payload for event in events], [*range(130)], "payloads")


def positions_increase_across_streams(store: EventStore) -> None:
    """An append acknowledged later has larger positions, whichever stream it went to."""
    returned = []
    for sequence in range(12):
        for stream_id in (STREAM, OTHER, ("order", "acc-1")):
            returned.append(add(store, stream_id, sequence, sequence))  # noqa: PERF401
    require(returned[0] >= 1, f"the first position is {returned[0]}, not at least 1")
    require(all(type(position) is int for position in returned), "positions are plain ints")
    require_increasing(returned, "positions returned")
    require_equal([event.position for event in log_of(store)], returned, "positions in the log")


def positions_are_consecutive_within_one_append(store: EventStore) -> None:
    """The position returned is the last one's; the others follow from it."""
    add(store, OTHER, 0, "before")
    last = add(store, STREAM, 0, *range(5))
    found = [event.position for event in stream_of(store, STREAM)]
    require_equal(found, [*range(last - 4, last + 1)], "positions of one append")


def stream_and_log_show_the_same_events(store: EventStore) -> None:
    """What `fold` hands out is what `fold_all` hands out, positions included."""
    for sequence in range(0, 6, 2):
        add(store, STREAM, sequence, "one", "two")
        add(store, OTHER, sequence, "uno", "dos")
    for stream_id in (STREAM, OTHER):
        in_log = [event for event in log_of(store) if event.stream_id == stream_id]
        require_equal(stream_of(store, stream_id), in_log, f"events of {stream_id}")


def last_position_is_the_newest_events(store: EventStore) -> None:
    """It is 0 before the first event, and then what the last append returned."""
    require_equal(store.last_position(), 0, "position of an empty log")
    for sequence in range(3):
        position = add(store, STREAM, sequence, sequence)
        require_equal(store.last_position(), position, "position after an append")


def positions_given_by_the_writer_are_ignored(store: EventStore) -> None:
    """Positions are the store's to give, whether the events come with None or with numbers."""
    first = add(store, STREAM, 0, "given none")
    given = [event.at(7000 + event.sequence) for event in made(STREAM, 1, "given", "some")]
    last = store.append(STREAM, given, expected_sequence=1)
    positions = [event.position for event in stream_of(store, STREAM)]
    require_equal(positions, [first, last - 1, last], "positions")
    taken = {event.position for event in given}.intersection(positions)
    require(not taken, f"positions were taken from the writer: {taken}")


CHECKS = (
    a_stream_is_read_in_sequence_order,
    positions_increase_across_streams,
    positions_are_consecutive_within_one_append,
    stream_and_log_show_the_same_events,
    last_position_is_the_newest_events,
    positions_given_by_the_writer_are_ignored,
)
