"""A store that breaks one promise is told which: the suite can fail."""

import time

import broken_at_scale as scale
import pytest

from eskernel.errors import ConcurrencyConflict
from eskernel.testing import (
    BrokenGuarantees,
    check_event_store,
    check_snapshot_store,
    event_store_checks,
)
from eskernel.testing.conformance.checking import run
from eskernel.values import Range
from eskernel_stores import MemoryStore

ALL = Range()


class LosesUpdates(MemoryStore):
    """Takes whatever comes, as the next events."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        actual = len(self._streams.get(stream_id, ()))
        events = [event._replace(sequence=n) for n, event in enumerate(events, actual + 1)]
        return super().append(stream_id, events, expected_sequence=actual, append_id=append_id)


class ChecksBeforeLocking(MemoryStore):
    """Two writers may both find the stream where they expect it."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        actual = len(self._streams.get(stream_id, ()))
        if actual == expected_sequence and append_id is None:
            time.sleep(0.0001)  # only opens the window; the check finds it at any width
            actual = len(self._streams.get(stream_id, ()))
            events = [event._replace(sequence=n) for n, event in enumerate(events, actual + 1)]
            expected_sequence = actual
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class SaysNoNumbers(MemoryStore):
    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        try:
            return super().append(
                stream_id, events, expected_sequence=expected_sequence, append_id=append_id
            )
        except ConcurrencyConflict as conflict:
            raise ConcurrencyConflict(stream_id, expected_sequence, 0) from conflict


class IgnoresAppendIds(MemoryStore):
    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        return super().append(stream_id, events, expected_sequence=expected_sequence)


class TakesIdZeroForNone(MemoryStore):
    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id or None
        )


class RemembersOnlyTheLastAppend(MemoryStore):
    def _stored_before(self, stream_id, stream, events, expected_sequence, append_id):
        if expected_sequence + len(events) < len(stream):
            raise ConcurrencyConflict(stream_id, expected_sequence, len(stream))
        return super()._stored_before(stream_id, stream, events, expected_sequence, append_id)


class TakesEqualEventsForARetry(MemoryStore):
    def _stored_before(self, stream_id, stream, events, expected_sequence, append_id):
        rows = stream[expected_sequence : expected_sequence + len(events)]
        if rows and len(rows) == len(events):
            return rows[-1][8]
        return super()._stored_before(stream_id, stream, events, expected_sequence, append_id)


class StoresEventsOneByOne(MemoryStore):
    """A failure in the middle leaves the events before it."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        position = 0
        for event in events or [None]:
            position = super().append(
                stream_id,
                [event] if event else [],
                expected_sequence=event.sequence - 1 if event else expected_sequence,
                append_id=append_id,
            )
        return position


class WantsEvents(MemoryStore):
    """Reads attributes, which the rows handed to an immediate store lack."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        assert all(event.sequence for event in events)
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class AcceptsNoEvents(MemoryStore):
    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        if not events:
            return self.last_position()
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class SharesPayloads(MemoryStore):
    """Keeps and hands out one and the same object."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        self.kept = getattr(self, "kept", {})
        position = super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )
        self.kept.update({(stream_id, event.sequence): event for event in events})
        return position

    def fold(self, stream_id, function, initial, range=ALL):
        def shared(accumulator, event):
            original = self.kept[stream_id, event.sequence]
            return function(accumulator, original.at(event.position))

        return super().fold(stream_id, shared, initial, range)


class ReadsNewestFirst(MemoryStore):
    def fold(self, stream_id, function, initial, range=ALL):
        events = super().fold(stream_id, lambda events, event: [event, *events], [], range)
        for event in events:
            initial = function(initial, event)
        return initial


class IncludesTheStop(MemoryStore):
    def fold(self, stream_id, function, initial, range=ALL):
        wider = Range(range.start, range.stop and range.stop + 1)
        return super().fold(stream_id, function, initial, wider)


class SeesAppendsLate(MemoryStore):
    """Its readers are one append behind."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        self.visible = len(self._log)
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )

    def fold(self, stream_id, function, initial, range=ALL):
        def visible(accumulator, event):
            return function(accumulator, event) if event.position <= self.visible else accumulator

        return super().fold(stream_id, visible, initial, range)


class SwallowsReaderErrors(MemoryStore):
    def fold(self, stream_id, function, initial, range=ALL):
        try:
            return super().fold(stream_id, function, initial, range)
        except Exception:
            return initial


class ReachesOnlyMatches(MemoryStore):
    """Takes the last event handed out for the last one looked at."""

    def fold_all(self, function, initial, range=ALL, **options):
        last = [max(range.start - 1, 0)]

        def noting(accumulator, event):
            last[0] = event.position
            return function(accumulator, event)

        return super().fold_all(noting, initial, range, **options)[0], last[0]


class LimitsMatches(MemoryStore):
    """Counts only what it hands out towards the limit."""

    def fold_all(self, function, initial, range=ALL, *, limit=None, **filters):
        start = range.start
        found, reached = super().fold_all(_listed, [], range, **filters)
        if limit is not None and len(found) > limit:
            found = found[:limit]
            reached = found[-1].position if found else max(start - 1, 0)
        for event in found:
            initial = function(initial, event)
        return initial, reached


class FiltersByEither(MemoryStore):
    def fold_all(
        self, function, initial, range=ALL, *, limit=None, types=None, aggregate_types=None
    ):
        def either(accumulator, event):
            if (types is None and aggregate_types is None) or (
                event.type in (types or ()) or event.stream_id[0] in (aggregate_types or ())
            ):
                return function(accumulator, event)
            return accumulator

        return super().fold_all(either, initial, range, limit=limit)


class ReachesTheEndOfAnEmptyPage(MemoryStore):
    """Past the end it goes back to the end."""

    def fold_all(self, function, initial, range=ALL, **options):
        result, reached = super().fold_all(function, initial, range, **options)
        return result, min(reached, self.last_position())


class ForgetsWhereTheLogEnds(MemoryStore):
    def last_position(self):
        return 0


class IgnoresCase(MemoryStore):
    """As a database with a convenient collation."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        folded = (stream_id[0], stream_id[1].casefold())
        events = [event._replace(stream_id=folded) for event in events]
        return super().append(
            folded, events, expected_sequence=expected_sequence, append_id=append_id
        )

    def fold(self, stream_id, function, initial, range=ALL):
        def named(accumulator, event):
            return function(accumulator, event._replace(stream_id=stream_id))

        return super().fold((stream_id[0], stream_id[1].casefold()), named, initial, range)


class ForgetsTags(MemoryStore):
    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        events = [event._replace(tags=()) for event in events]
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class TurnsTuplesIntoLists(MemoryStore):
    """As JSON does."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        events = [
            event._replace(body=list(event.body)) if type(event.body) is tuple else event
            for event in events
        ]
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class ShowsAppendsInParts(MemoryStore):
    """Whoever reads meanwhile sees one event, then the next."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        for event in events[:-1]:
            MemoryStore.append(self, stream_id, [event], expected_sequence=event.sequence - 1)
            time.sleep(0.0001)
        last = events[-1:]
        sequence = last[0].sequence - 1 if last else expected_sequence
        return super().append(stream_id, last, expected_sequence=sequence, append_id=append_id)


class LetsReadersMissEvents(MemoryStore):
    """Counts what is in flight: readers advance past an event that shows up later."""

    def fold_all(self, function, initial, range=ALL, **options):
        result, reached = super().fold_all(function, initial, range, **options)
        time.sleep(0.0001)
        return result, max(reached, self.last_position()) if not options.get("limit") else reached


class FailsTheWholeBatch(MemoryStore):
    def append_batch(self, commits):
        results = super().append_batch(commits)
        failed = [result for result in results if isinstance(result, Exception)]
        return failed[:1] * len(results) if failed else results


class LetsBrokenChainsGoOn(MemoryStore):
    def append_batch(self, commits):
        return [super(LetsBrokenChainsGoOn, self).append_batch([commit])[0] for commit in commits]


class ReturnsBatchResultsOutOfOrder(MemoryStore):
    def append_batch(self, commits):
        return super().append_batch(commits[::-1])


class CannotCloseTwice(MemoryStore):
    def close(self):
        if getattr(self, "closed", False):
            raise RuntimeError("already closed")
        self.closed = True


def _listed(events, event):
    return [*events, event]


def _broken(check, *arguments, **options):
    with pytest.raises(AssertionError) as caught:
        check(*arguments, **options)
    assert isinstance(caught.value, BrokenGuarantees)
    names = [error.guarantee for error in caught.value.exceptions]
    for name in names:
        assert f"- {name}: " in str(caught.value)
    return names


@pytest.mark.parametrize(
    ("store", "guarantee"),
    [
        (LosesUpdates, "a wrong expected sequence is a conflict"),
        (WantsEvents, "an immediate store takes rows in place of events"),
        (LosesUpdates, "each sequence is won by exactly one thread"),
        (ChecksBeforeLocking, "each sequence is won by exactly one thread"),
        (ChecksBeforeLocking, "threads that retry their conflicts lose no update"),
        (SaysNoNumbers, "a wrong expected sequence is a conflict"),
        (IgnoresAppendIds, "an append sent again under its id is a success"),
        (IgnoresAppendIds, "one append sent by many threads is stored once"),
        (TakesIdZeroForNone, "an append sent again under its id is a success"),
        (RemembersOnlyTheLastAppend, "an append sent again after later ones is a success"),
        (TakesEqualEventsForARetry, "an append under another id is a conflict"),
        (StoresEventsOneByOne, "an append with an unstorable event stores nothing"),
        (StoresEventsOneByOne, "an append with a hole stores nothing"),
        (StoresEventsOneByOne, "an append with an event of another stream stores nothing"),
        (AcceptsNoEvents, "an append without events is refused"),
        (SharesPayloads, "what the writer changes later is not stored"),
        (SharesPayloads, "what a reader changes is not stored"),
        (SharesPayloads, "metadata a reader changes is not stored"),
        (ReadsNewestFirst, "a stream is read in sequence order"),
        (IncludesTheStop, "fold reads the range asked for"),
        (SeesAppendsLate, "fold sees every acknowledged append"),
        (SwallowsReaderErrors, "an error of the function reaches the reader"),
        (ReachesOnlyMatches, "fold all filters by type and aggregate type"),
        (LimitsMatches, "limit counts filtered events too"),
        (FiltersByEither, "fold all filters by type and aggregate type"),
        (ReachesTheEndOfAnEmptyPage, "position reached of nothing is just before the range"),
        (ForgetsWhereTheLogEnds, "last position is the newest events"),
        (IgnoresCase, "streams of any names stay apart"),
        (ForgetsTags, "everything else comes back exactly"),
        (TurnsTuplesIntoLists, "payloads come back exactly"),
        (ShowsAppendsInParts, "readers of a growing stream see whole appends"),
        (LetsReadersMissEvents, "readers of the growing log miss nothing"),
        (FailsTheWholeBatch, "a failing commit does not fail its neighbours"),
        (LetsBrokenChainsGoOn, "a chain breaks at its first conflict"),
        (ReturnsBatchResultsOutOfOrder, "a batch returns results in order"),
        (CannotCloseTwice, "closing twice is harmless"),
        (scale.CutsLongText, "a payload of a megabyte comes back"),
        (scale.RefusesLargeWrites, "an append of several megabytes is stored whole"),
        (scale.RefusesLargeWrites, "a batch of several megabytes is stored"),
        (scale.RefusesManyEvents, "ten thousand events fit in one append"),
        (scale.ReadsOnePageOfAnAppend, "a long append sent again under its id is a success"),
        (
            scale.ForgetsOldAppends,
            "an append sent again thousands of events later is a success",
        ),
        (scale.SkipsWhereAPageBegins, "a long stream is read in any range"),
        (
            scale.SkipsWhereAPageBegins,
            "readers of a growing stream see whole appends across pages",
        ),
        (scale.StopsAfterAPageOfTheLog, "a long log is read with any limit"),
        (scale.StopsAtAPageWithoutMatches, "filters pass over thousands of events"),
        (scale.ReadsUnderALock, "a function may use the store that calls it"),
        (scale.ReadsUnderALockOfItsThread, "the store serves others while a function runs"),
        (scale.LosesConnections, "errors of functions use nothing up"),
        (scale.SplitsLargeBatches, "a batch of a thousand commits is stored"),
        (scale.LooksBeforeItLocks, "of batches at once one wins each stream"),
        (ShowsAppendsInParts, "readers during batches miss nothing"),
        (scale.ShowsBatchesBeforeTheyAreWhole, "readers during batches miss nothing"),
        (
            scale.BreaksReadersByClosing,
            "closing while others use the store hangs nobody",
        ),
    ],
)
def test_the_suite_names_what_a_broken_event_store_breaks(store, guarantee):
    (check,) = [check for check in event_store_checks() if check.name == guarantee]
    assert _broken(run, [check], store, None) == [guarantee]


@pytest.mark.parametrize("store", [FailsTheWholeBatch, LetsBrokenChainsGoOn, AcceptsNoEvents])
def test_the_other_guarantees_are_checked_all_the_same(store):
    assert len(_broken(check_event_store, store)) <= 3


def test_a_store_that_forgets_on_closing_is_not_durable():
    def reopen(store):
        store.close()
        return MemoryStore()

    assert _broken(check_event_store, MemoryStore, reopen=reopen) == [
        "events outlive closing",
        "conflicts outlive closing",
        "append ids outlive closing",
        "what was acknowledged until closing is stored",
    ]
    assert _broken(check_snapshot_store, MemoryStore, reopen=reopen) == [
        "snapshots outlive closing"
    ]


def test_a_store_that_acknowledges_while_it_closes_is_not_durable():
    reopened = scale.AcknowledgesWhileClosing.reopened
    (check,) = [
        check
        for check in event_store_checks()
        if check.name == "what was acknowledged until closing is stored"
    ]
    assert _broken(run, [check], scale.AcknowledgesWhileClosing, reopened) == [check.name]


class KeepsTheLastStored(MemoryStore):
    def store(self, snapshot, *, keep=1):
        self._snapshots.pop(snapshot.stream_id, None)
        super().store(snapshot, keep=keep)


class OrdersSnapshotsAsText(MemoryStore):
    def load_latest(self, stream_id):
        kept = sorted(self._snapshots.get(stream_id, []), key=lambda one: str(one.sequence))
        return kept[-1] if kept else None


class KeepsTheFirstOfASequence(MemoryStore):
    def store(self, snapshot, *, keep=1):
        kept = self._snapshots.get(snapshot.stream_id, [])
        if all(other.sequence != snapshot.sequence for other in kept):
            super().store(snapshot, keep=keep)


class ForgetsReceipts(MemoryStore):
    def store(self, snapshot, *, keep=1):
        super().store(snapshot._replace(receipts=()), keep=keep)


class SharesStates(MemoryStore):
    def store(self, snapshot, *, keep=1):
        snapshot.sealed(self._pack, self._unpack)
        kept = {one.sequence: one for one in self._snapshots.get(snapshot.stream_id, [])}
        kept[snapshot.sequence] = snapshot
        self._snapshots[snapshot.stream_id] = [kept[n] for n in sorted(kept)]


class MixesUpStreams(MemoryStore):
    def store(self, snapshot, *, keep=1):
        joined = ("", "-".join(snapshot.stream_id))
        super().store(snapshot._replace(stream_id=joined), keep=keep)

    def load_latest(self, stream_id):
        found = super().load_latest(("", "-".join(stream_id)))
        return found and found._replace(stream_id=stream_id)


@pytest.mark.parametrize(
    ("store", "guarantee"),
    [
        (KeepsTheLastStored, "the highest sequence is the latest"),
        (KeepsTheLastStored, "keeping few never forgets the newest"),
        (OrdersSnapshotsAsText, "the highest sequence is the latest"),
        (KeepsTheFirstOfASequence, "a snapshot of the same sequence is replaced"),
        (ForgetsReceipts, "snapshots come back exactly"),
        (SharesStates, "states handed in or out are not shared"),
        (MixesUpStreams, "snapshots of any names stay apart"),
        (
            scale.KnowsBetterThanASnapshot,
            "a snapshot behind at or ahead of its stream is kept as it is",
        ),
        (
            scale.MakesAStreamOfASnapshot,
            "a snapshot of a stream without events is kept",
        ),
    ],
)
def test_the_suite_names_what_a_broken_snapshot_store_breaks(store, guarantee):
    assert guarantee in _broken(check_snapshot_store, store)


def test_an_error_the_store_raises_is_a_broken_guarantee_with_its_cause():
    class Raises(MemoryStore):
        def load_latest(self, stream_id):
            raise OSError("disk on fire")

    with pytest.raises(BrokenGuarantees, match="OSError: disk on fire") as caught:
        check_snapshot_store(Raises)
    assert isinstance(caught.value.exceptions[0].__cause__, OSError)


def test_every_store_made_is_closed():
    made = []

    class Counted(MemoryStore):
        def __init__(self):
            super().__init__()
            self.open = True
            made.append(self)

        def close(self):
            self.open = False

    check_event_store(Counted)
    assert len(made) > 40
    assert not any(store.open for store in made)
