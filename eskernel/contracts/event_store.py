"""EventStore: streams of events and the log of all of them.

`eskernel.testing.check_event_store` is this contract in executable form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from eskernel.values import Event, Range, StreamId

A = TypeVar("A")


class Commit(NamedTuple):
    """One append of a batch.

    Attributes:
        stream_id: the stream to append to.
        events: one event or more, sequences `expected_sequence + 1` and on.
        expected_sequence: the sequence the stream must be at.
        append_id: names this very append, 0 to 2**128 - 1; see `EventStore.append`.
    """

    stream_id: StreamId
    events: Sequence[Event]
    expected_sequence: int
    append_id: int | None = None


class EventStore(Protocol):
    """Keeps events; every method may be called from many threads at once.

    Guarantees: **ordering** (sequence order in a stream, position order in the log, and who has
    seen position p never later finds a smaller one missed), **atomicity** (an append is there whole
    or not at all), **immutability**, **durability** (unless the store says otherwise) and **no lost
    update**. Events handed out cannot be used to change what is stored.

    A store whose appends cost no I/O may set `immediate = True`: the kernel then appends on the
    caller's own thread instead of collecting appends for one durable write, and hands over rows
    (see `eskernel.values.Row`) in place of events.
    """

    def append(
        self,
        stream_id: StreamId,
        events: Sequence[Event],
        *,
        expected_sequence: int,
        append_id: int | None = None,
    ) -> int:
        """Store events at the end of a stream, all or none.

        The kernel has checked the ids and the sequences and sealed the events.

        Args:
            stream_id: the stream.
            events: one event or more, sequences `expected_sequence + 1` and on; positions are
                the store's to give.
            expected_sequence: the sequence the stream must be at; 0 for a new one.
            append_id: a number used for no other append. When the stream has moved on because
                this very append was stored before, that is a success.

        Returns:
            Position of the last event stored.

        Raises:
            ConcurrencyConflict: the stream is at another sequence; nothing is stored.
            StoreUnavailable: the store could not be reached; `outcome_unknown` tells whether the
                events may be stored all the same.
            NotStorable: an open event holds something that cannot be stored.
            ValueError: no events, sequences with holes, or an event of another stream.
        """
        ...

    def fold(
        self,
        stream_id: StreamId,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
    ) -> A:
        """Reduce a stream's events in sequence order, as `functools.reduce`.

        Sees every append acknowledged before it began, and of any other all events or none.

        Args:
            stream_id: the stream; an unknown one has no events.
            function: from the accumulator and an event to the next accumulator.
            initial: the first accumulator.
            range: the sequences wanted.

        Raises:
            StoreUnavailable: the store could not be reached.
            CorruptStore: a stored event cannot be read.
        """
        ...

    def fold_all(
        self,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range = Range(),  # noqa: B008 - immutable
        *,
        limit: int | None = None,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> tuple[A, int]:
        """Reduce the log in position order.

        Args:
            function: from the accumulator and an event to the next accumulator.
            initial: the first accumulator.
            range: the positions wanted.
            limit: look at no more than so many events, filtered ones included; None for all.
            types: only events of these types.
            aggregate_types: only events of these aggregate types.

        Returns:
            The last accumulator, and the last position looked at, filtered events included:
            continue from there plus 1. With nothing to look at, `range.start - 1`, at least 0.

        Raises:
            StoreUnavailable: the store could not be reached.
            CorruptStore: a stored event cannot be read.
        """
        ...

    def last_position(self) -> int:
        """Return the position of the newest event readers can see; 0 for an empty log."""
        ...

    def close(self) -> None:
        """Release what the store holds; closing twice is harmless."""
        ...


@runtime_checkable
class BatchingEventStore(Protocol):
    """An EventStore that can make many appends durable at once."""

    def append_batch(self, commits: Sequence[Commit]) -> list[int | Exception]:
        """Store many independent appends in one durable write.

        Each is atomic on its own and none fails its neighbours. Commits on one stream chain: the
        second sees what the first stored, and conflicts if the first failed.

        Returns:
            For each commit, in order, what `append` would return or raise.

        Raises:
            StoreUnavailable: as `append`, for all of them.
        """
        ...
