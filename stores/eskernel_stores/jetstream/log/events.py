"""Events in the stream `<name>-events`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final, TypeVar

from eskernel.contracts import Commit
from eskernel.errors import StoreUnavailable
from eskernel.values import Event, Range, StreamId
from eskernel_stores.batching import Batch, Outcome, Prepared, Round, Written
from eskernel_stores.bounds import LAST, bounds_of
from eskernel_stores.checking import check_stream
from eskernel_stores.heads import Heads
from eskernel_stores.jetstream.connecting.connection import HEADER_BYTES, MOST_MESSAGES
from eskernel_stores.jetstream.connecting.replies import ApiError
from eskernel_stores.jetstream.log.appends import to_bytes, to_payloads
from eskernel_stores.jetstream.log.folding import LogFold, StreamFold, end_of
from eskernel_stores.jetstream.log.freshness import Freshness
from eskernel_stores.jetstream.log.reading import PAGE, LogRow, Reading
from eskernel_stores.jetstream.log.seeking import Seeker
from eskernel_stores.jetstream.log.writing import Room, Writing
from eskernel_stores.jetstream.service import Service
from eskernel_stores.jetstream.streams import events_subjects

A = TypeVar("A")

_FEW: Final = 16  # messages; to read fewer at once is no faster


class JetStreamEvents:
    """A BatchingEventStore; see the modules `appends` for its form and `writing` for its promises.

    Args:
        service: the servers.
        pack, unpack: as for `Event.sealed`.
    """

    def __init__(
        self,
        service: Service,
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
    ) -> None:
        self._portal = service.portal
        self._connection = service.connection
        self._pack = pack
        self._unpack = unpack
        self._prefix = events_subjects(service.name)
        heads = Heads()
        freshness = Freshness(service.connection, service.timeout)
        self._seeker = Seeker(service.connection, service.name, heads, freshness)
        self._reading = Reading(service.connection, self._seeker.stream, freshness)
        self._writing = Writing(service, self._seeker, heads, freshness)

    def append_batch(self, commits: Sequence[Commit]) -> list[Outcome]:
        """Store many appends; see `BatchingEventStore.append_batch`."""
        batch = Batch(commits, self._pack, self._unpack, to_bytes, self._joined, Room())
        return batch.store(self)

    def write(self, round: Round) -> Written:
        """Store a round of a batch; see `batching.Writer`."""
        return self._run(self._writing.write, round)

    def find(self, commit: Prepared) -> list[int]:
        """Return where a commit is stored already; see `batching.Writer`."""
        return self._run(self._writing.find, commit)

    def fold(
        self, stream_id: StreamId, function: Callable[[A, Event], A], initial: A, range: Range
    ) -> A:
        """Reduce a stream's events; see `EventStore.fold`."""
        check_stream(stream_id)
        start, stop = bounds_of(range)
        if start >= stop:
            return initial
        last = self._run(self._seeker.last, stream_id)
        if last is None:
            return initial
        end = last.last if last.is_end else last.first - 1  # of which there is all
        if end < start:
            return initial
        fold = StreamFold(stream_id, start, stop, self._unpack)
        if last.chunks == 1 and last.first <= start:
            return fold.fold_append(function, initial, last, last.body)  # type: ignore[arg-type]
        subject = self._seeker.subject_of(stream_id)
        message = self._run(self._seeker.before, stream_id, start, last) if start > 1 else 1
        pages = self._reading.pages(subject, message, last.message)
        accumulator = initial
        while fold.next <= end and fold.next < stop:
            accumulator = fold.fold(function, accumulator, self._run(pages.next))
        return accumulator

    def fold_all(
        self,
        function: Callable[[A, Event], A],
        initial: A,
        range: Range,
        limit: int | None,
        types: Collection[str] | None,
        aggregate_types: Collection[str] | None,
    ) -> tuple[A, int]:
        """Reduce the log; see `EventStore.fold_all`."""
        bounds = bounds_of(range)
        most = LAST if limit is None else limit
        fold = LogFold(self._prefix, bounds, most, types, aggregate_types, self._unpack)
        accumulator = initial
        last = self._run(self._reading.last) if most > 0 and bounds[0] < bounds[1] else None
        if last is None or fold.is_past(last):
            return accumulator, fold.reached
        end, *_ = last
        while fold.left > 0 and fold.message <= end:
            count = min(max(fold.left, _FEW), PAGE)
            rows = self._run(self._reading.log_page, fold.message, count)
            accumulator = fold.fold(function, accumulator, rows)
        return accumulator, fold.reached

    def last_position(self) -> int:
        """Return the position of the newest event; 0 for an empty log."""
        return self._run(self._last_position)

    def _run(self, function: Callable[..., Coroutine[Any, Any, A]], *arguments: Any) -> A:
        """Run a coroutine function on the loop; an unexpected refusal is StoreUnavailable."""
        try:
            return self._portal.run(function, *arguments)
        except ApiError as error:
            raise StoreUnavailable.because(error, outcome_unknown=False) from error

    async def _last_position(self) -> int:
        row: LogRow | None = await self._reading.last()
        while row is not None:
            if position := end_of(row, self._prefix):
                return position
            row = await self._reading.get(row[0] - 1)  # an append of which chunks are missing
        return 0

    def _joined(self, commit: Prepared) -> list[bytes]:
        """Return the payloads of a commit's messages; see `batching.Join`."""
        self._seeker.subject_of(commit.stream_id)  # is not too long
        room = self._connection.max_payload - HEADER_BYTES
        return to_payloads(commit, room, MOST_MESSAGES)
