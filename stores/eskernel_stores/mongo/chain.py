"""Chain: the log's end, where appends are inserted.

The log is a chain of documents: the `_id` of each, the position of its first event, is that of the
one before plus its number of events. A writer inserts at the end that it knows. If another was
first, the server refuses the `_id`, for it is taken, and the writer looks where the end is now. So
the unique `_id` does the work of a lock that is never held; with a document that counts, or with
transactions, writers would wait for each other, or abort each other.

**Without holes, and in the order of commits.** A writer knows an end only from what a majority of
the servers has: from its own insert once that was acknowledged by a majority, or from a read with
read concern "majority". What a majority has is never rolled back. So everything up to that end
stays, whichever server becomes the primary, and what is inserted behind it cannot come to stand
behind a hole. Within one insert command, which one server executes in order and ends at the first
failure, each document is inserted only after the one before it; if the driver sends the command
once more, to another server, that server inserts a document again unless it has it, or refuses it
if another has taken its place. A rollback takes away the newest part of a server's own history, and
what follows upon a document was written after it. After any error the end counts as unknown.

**No skips.** In the servers' history each document comes after its predecessor, and a majority
reader sees a prefix of that history. So a reader that has seen a position has seen all before it.

Leases that appends depend on are kept in order with the log by markers in it; see `guards`.

Streams are chains likewise: the unique index has only one append begin at each sequence. An append
may go where the stream's last one ends. Whether one ends there is remembered of those seen before,
and else asked; whether it is still the last, the index decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from eskernel.errors import StoreUnavailable
from eskernel_stores.batching import Prepared, Round, Written
from eskernel_stores.heads import Head
from eskernel_stores.mongo.database import Database, Documents
from eskernel_stores.mongo.documents import marker
from eskernel_stores.mongo.failures import DUPLICATE
from eskernel_stores.mongo.frontier import Frontier
from eskernel_stores.mongo.guards import Guards
from eskernel_stores.mongo.schema import EVENTS
from eskernel_stores.mongo.streams import Streams
from eskernel_stores.mongo.turns import Turns
from eskernel_stores.mongo.writing import Writing


class Chain:
    """Inserts appends; may be used from many threads.

    Args:
        database: where the log is.
        timeout: seconds for which other writers' appends may come first, again and again.

    Attributes:
        streams: where they end.
    """

    def __init__(self, database: Database, timeout: float) -> None:
        self.streams = Streams(database)
        self._database = database
        self._timeout = timeout
        # Held by the thread that inserts: of two threads at once one would be refused.
        self._inserting = threading.Lock()
        # The log's last position. Guarded by the lock, and None whenever what is stored is not
        # known for certain: while an insert is under way, and after one that failed.
        self._end: int | None = None
        self._guards = Guards(database)
        # Guarded by the lock, too; its `last_event` looks at nothing but the database.
        self._frontier = Frontier(database, self._guards)
        self._turns = Turns(database)

    def write(self, round: Round) -> Written:
        """Store what fits of a round; see `batching.Writer`.

        If another writer appends to a stream between two commits of the round, the first of them is
        stored all the same: the stream is then said to be elsewhere, and `find` finds that commit.

        Raises:
            StoreUnavailable: a commit may be stored if `outcome_unknown`.
        """
        self._database.check_open()  # a forked child's lock may be held by nobody
        deadline = time.monotonic() + self._timeout
        writing = Writing(round, self.streams.moved(round))
        try:
            with self._inserting:
                self._lose_overtaken(writing)
                self._insert_all(writing, deadline)
            self._look_again(writing)
        except StoreUnavailable as error:
            if not writing.has_stored or error.outcome_unknown:
                raise
            raise StoreUnavailable(
                f"{error}, but for some appends of the batch", outcome_unknown=True
            ) from error
        return writing.written()

    def mark(self, fences: Mapping[str, int]) -> None:
        """Insert a marker for leases that are under new epochs; see `guards`.

        Args:
            fences: the epochs by name, as the leases' documents have them.

        Raises:
            StoreUnavailable: there may be a marker, or none.
        """
        self._database.check_open()
        deadline = time.monotonic() + self._timeout
        with self._inserting:
            while not self._insert_marker(fences):
                _check(deadline)
            self._frontier.mark(fences)

    def last_position(self) -> int:
        """Return the position of the newest event, as a majority has it; 0 if there is none.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        return self._frontier.last_event()

    def _lose_overtaken(self, writing: Writing) -> None:
        """Give up streams to which other threads have appended while this one waited."""
        for index, stream_id, expected in writing.streams():
            seen = self.streams.heads.get(stream_id)
            if seen is not None and seen.sequence > expected:
                writing.lose(index, seen.sequence)  # seen since this append began

    def _look_again(self, writing: Writing) -> None:
        """See what has become of streams under stale epochs, and of epochs whose streams moved."""
        writing.refuse(self._guards.stale(writing.doubtful()))
        for index, stream_id in writing.refused():
            writing.lose(index, self.streams.head(stream_id))

    def _insert_all(self, writing: Writing, deadline: float) -> None:
        """Insert until nothing is left; gives up when others come first for too long."""
        while writing.left:
            _check(deadline)
            before = len(writing.left)
            self._insert_some(writing)
            if len(writing.left) < before:
                deadline = time.monotonic() + self._timeout

    def _insert_some(self, writing: Writing) -> None:
        """Insert as much as goes into one command, and note what became of it."""
        end = self._place()
        writing.refuse(self._frontier.stale(writing.fences()))
        sent = writing.next(end)
        inserted, refused = self._insert([one.whole.document for _, one in sent])
        end = writing.note(sent[:inserted], end)
        self._frontier.reach(end)
        self.streams.heads.put(
            (one.stream_id, Head(one.expected + len(one.events), one.whole.document["_id"]))
            for _, one in sent[:inserted]
        )
        if refused is None:
            self._end = end
            self._turns.won()
        elif refused:
            self._turns.lost()
        else:
            self._lose(writing, *sent[inserted])
            self._end = end

    def _insert_marker(self, fences: Mapping[str, int]) -> bool:
        """Insert a marker; return whether its place was free."""
        end = self._place()
        inserted, _ = self._insert([marker(end + 1, [*fences])])
        if not inserted:
            self._turns.lost()
            return False
        self._frontier.reach_marker(end + 1)
        self._end = end + 1
        self._turns.won()
        return True

    def _place(self) -> int:
        """Return where the log ends; that counts as unknown until an insert has succeeded."""
        if self._turns.wait():
            self._end = None
        end, self._end = self._end, None
        return self._frontier.look() if end is None else end

    def _insert(self, documents: Sequence[Any]) -> tuple[int, bool | None]:
        """Insert documents in order, up to one whose place is taken.

        Returns:
            How many were inserted, and why the next was refused: True if its place in the log was
            taken, False if its place in its stream was; None if none was refused.
        """
        if not documents:
            return 0, None
        with self._database.translating(writing=True):
            try:
                self._events().insert_many(documents, ordered=True)
            except BulkWriteError as error:
                if error.details["writeConcernErrors"]:
                    raise
                (refused,) = error.details["writeErrors"]
                if refused["code"] != DUPLICATE:
                    raise
                return refused["index"], "_id" in refused["keyPattern"]
        return len(documents), None

    def _lose(self, writing: Writing, index: int, commit: Prepared) -> None:
        """Take note that another append is where a commit should be.

        A majority may not have that append yet. Then the commit is tried again, for the append may
        still vanish.
        """
        head = self.streams.head(commit.stream_id)
        if head == commit.expected:
            self._turns.lost()
        else:
            writing.lose(index, head)

    def _events(self) -> Documents:
        return self._database.collection(EVENTS)


def _check(deadline: float) -> None:
    """Raise StoreUnavailable if others have come first for too long."""
    if time.monotonic() > deadline:
        raise StoreUnavailable(
            "MongoDB: other appends came first for too long; nothing was stored, try again"
        )
