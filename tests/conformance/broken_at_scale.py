"""Stores that keep their promises until it gets large, long or crowded."""

import threading
import time
from contextlib import contextmanager

from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel.values import Range
from eskernel_stores import MemoryStore

ALL = Range()
PAGE = 1000


class RefusesLargeWrites(MemoryStore):
    """As a server with a limit to what it takes at once."""

    limit = 3 * 2**20

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        self._weigh(events)
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )

    def append_batch(self, commits):
        self._weigh([event for commit in commits for event in commit.events])
        return super().append_batch(commits)

    def _weigh(self, events):
        if sum(len(self._pack(event.payload, "payload")) for event in events) > self.limit:
            raise StoreUnavailable("the server takes no more than three megabytes at once")


class CutsLongText(MemoryStore):
    """As a column that is too narrow."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        events = [
            event._replace(body=event.body[: 2**19]) if type(event.body) is str else event
            for event in events
        ]
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class RefusesManyEvents(MemoryStore):
    """As a database with a limit to the parameters of a statement."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        if len(events) > 5000:
            raise ValueError("too many parameters")
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )


class ReadsOnePageOfAnAppend(MemoryStore):
    """Looks for the id of an append in as many rows as it reads at once."""

    def _stored_before(self, stream_id, stream, events, expected_sequence, append_id):
        end = expected_sequence + PAGE
        if len(events) > PAGE:
            raise ConcurrencyConflict(stream_id, expected_sequence, len(stream))
        return super()._stored_before(stream_id, stream[:end], events, expected_sequence, append_id)


class ForgetsOldAppends(MemoryStore):
    def _stored_before(self, stream_id, stream, events, expected_sequence, append_id):
        if len(stream) - expected_sequence > PAGE:
            raise ConcurrencyConflict(stream_id, expected_sequence, len(stream))
        return super()._stored_before(stream_id, stream, events, expected_sequence, append_id)


class SkipsWhereAPageBegins(MemoryStore):
    def fold(self, stream_id, function, initial, range=ALL):
        number = 0

        def all_but_first(accumulator, event):
            nonlocal number
            number += 1
            skipped = number > PAGE and number % PAGE == 1
            return accumulator if skipped else function(accumulator, event)

        return super().fold(stream_id, all_but_first, initial, range)


class StopsAfterAPageOfTheLog(MemoryStore):
    def fold_all(self, function, initial, range=ALL, *, limit=None, **filters):
        limit = PAGE if limit is None else min(limit, PAGE)
        return super().fold_all(function, initial, range, limit=limit, **filters)


class StopsAtAPageWithoutMatches(MemoryStore):
    """Takes a page in which nothing matches for the end of the log."""

    def fold_all(self, function, initial, range=ALL, *, limit=None, **filters):
        reached = max(range.start - 1, 0)
        left = len(self._log) if limit is None else limit
        found = True
        while found and left > 0:
            found = []

            def noting(accumulator, event, found=found):
                found.append(event)
                return function(accumulator, event)

            page = Range(reached + 1, range.stop)
            initial, reached = super().fold_all(
                noting, initial, page, limit=min(left, PAGE), **filters
            )
            left -= PAGE
        return initial, reached


class ReadsUnderALock(MemoryStore):
    """Whoever writes waits until the reader's function is through."""

    new_lock = threading.Lock

    def __init__(self):
        super().__init__()
        self._reading = self.new_lock()

    @contextmanager
    def _locked(self):
        if not self._reading.acquire(timeout=0.2):
            raise StoreUnavailable("database is locked")
        try:
            yield
        finally:
            self._reading.release()

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        with self._locked():
            return super().append(
                stream_id, events, expected_sequence=expected_sequence, append_id=append_id
            )

    def fold(self, stream_id, function, initial, range=ALL):
        with self._locked():
            return super().fold(stream_id, function, initial, range)


class ReadsUnderALockOfItsThread(ReadsUnderALock):
    """The function may use the store, other threads may not."""

    new_lock = threading.RLock


class LosesConnections(MemoryStore):
    """Never gives back what a reader held whose function failed."""

    def __init__(self):
        super().__init__()
        self._connections = threading.Semaphore(15)

    def fold(self, stream_id, function, initial, range=ALL):
        if not self._connections.acquire(timeout=0.1):
            raise StoreUnavailable("no connection became free in time")
        result = super().fold(stream_id, function, initial, range)
        self._connections.release()
        return result


class SplitsLargeBatches(MemoryStore):
    """A chain that is broken in one part goes on in the next."""

    def append_batch(self, commits):
        parts = [commits[at : at + 400] for at in range(0, len(commits), 400)]
        return [result for part in parts for result in super(type(self), self).append_batch(part)]


class LooksBeforeItLocks(MemoryStore):
    """Two batches may both find a stream where they expect it."""

    def append_batch(self, commits):
        heads = {
            commit.stream_id: len(self._streams.get(commit.stream_id, ())) for commit in commits
        }
        time.sleep(0.001)  # only opens the window
        return super().append_batch([self._moved(commit, heads) for commit in commits])

    def _moved(self, commit, heads):
        stream_id, events, expected, _ = commit
        by = len(self._streams.get(stream_id, ())) - heads[stream_id]
        events = [event._replace(sequence=event.sequence + by) for event in events]
        return commit._replace(events=events, expected_sequence=expected + by)


class ShowsBatchesBeforeTheyAreWhole(MemoryStore):
    """Its readers reach the position the batch will have reached."""

    def append_batch(self, commits):
        self.coming = self.last_position() + sum(len(commit.events) for commit in commits)
        time.sleep(0.001)
        return super().append_batch(commits)

    def fold_all(self, function, initial, range=ALL, **options):
        result, reached = super().fold_all(function, initial, range, **options)
        return result, max(reached, getattr(self, "coming", 0))


class BreaksReadersByClosing(MemoryStore):
    """Takes away what they are using."""

    def close(self):
        self._log = self._streams = None


class AcknowledgesWhileClosing(MemoryStore):
    """Says yes to what it does not store any more."""

    closed = False

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        if self.closed:
            return self.last_position() + len(events)
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )

    def close(self):
        self.closed = True

    def reopened(self):
        self.closed = False
        return self


class KnowsBetterThanASnapshot(MemoryStore):
    """Hides one that is ahead of its stream."""

    def load_latest(self, stream_id):
        found = super().load_latest(stream_id)
        ahead = found is not None and found.sequence > len(self._streams.get(stream_id, ()))
        return None if ahead else found


class MakesAStreamOfASnapshot(MemoryStore):
    """Takes the snapshot's sequence for the stream's."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        snapshot = self.load_latest(stream_id)
        if snapshot is not None and snapshot.sequence > expected_sequence:
            raise ConcurrencyConflict(stream_id, expected_sequence, snapshot.sequence)
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )
