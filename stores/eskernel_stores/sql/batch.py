"""Batch: many appends, sorted into rounds of which each is one durable write.

Nearly always there is one round. Another follows when a commit turns out to have been stored
before, under its own append id, and the commits chained to it were not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple, Protocol

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, EskernelError
from eskernel.values import StreamId
from eskernel_stores.checking import checked_rows
from eskernel_stores.sql.events import Stored, to_columns

Outcome = int | Exception


class Written(NamedTuple):
    """What became of a round.

    Attributes:
        position: the log's last position before it.
        heads: of each stream of the round, in order, the sequence it was at before it.
    """

    position: int
    heads: Sequence[int]


class Writer(Protocol):
    """What a batch needs of a database."""

    def write(self, round: Round) -> Written:
        """Store a round durably; raises StoreUnavailable."""
        ...

    def find(self, commit: Prepared) -> list[int]:
        """Return the positions of the rows where the commit's should be that have its append id."""
        ...


class Prepared:
    """A commit ready to be stored.

    Attributes:
        index: its place in the batch.
        stream_id: the stream.
        expected: the sequence the stream must be at.
        append_id: 16 bytes, its own or made for it.
        columns: its events, ready for the table.
        error: why it cannot be stored; then it has no columns.
    """

    __slots__ = ("append_id", "columns", "error", "expected", "index", "stream_id")

    def __init__(
        self,
        index: int,
        commit: Commit,
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
    ) -> None:
        self.index = index
        self.stream_id, events, self.expected, append_id = commit
        self.append_id = os.urandom(16) if append_id is None else append_id.to_bytes(16)
        self.error: Exception | None = None
        self.columns: list[Stored] = []
        try:
            rows = checked_rows(self.stream_id, events, self.expected, pack, unpack)
        except (EskernelError, ValueError) as error:
            self.error = error
        else:
            self.columns = [to_columns(row, self.append_id) for row in rows]


class Round:
    """What is stored in one transaction: of each stream all rows, or none if it has moved on.

    Attributes:
        streams: each once, with the sequence it must be at, and at which the round leaves it.
        rows: `(index of the stream, columns)`, in the order of their positions.
        sent: the commits in it.
    """

    __slots__ = ("_index", "_next", "expected", "rows", "sent", "streams")

    def __init__(self) -> None:
        self.streams: list[StreamId] = []
        self.expected: list[int] = []
        self.rows: list[tuple[int, Stored]] = []
        self.sent: list[tuple[int, Prepared]] = []
        self._index: dict[StreamId, int] = {}
        self._next: list[int | None] = []  # None: a commit of this stream did not fit

    def take(self, commit: Prepared) -> None:
        """Take a commit if it follows upon those taken before it."""
        index = self._index.get(commit.stream_id)
        if index is None:
            index = self._index[commit.stream_id] = len(self.streams)
            self.streams.append(commit.stream_id)
            self.expected.append(commit.expected)
            self._next.append(commit.expected)
        if commit.error is not None or self._next[index] != commit.expected:
            self._next[index] = None
            return
        self._next[index] = commit.expected + len(commit.columns)
        self.sent.append((index, commit))
        self.rows += [(index, columns) for columns in commit.columns]


class Batch:
    """Appends on their way into the database; used once.

    Args:
        commits: the appends, in order.
        pack, unpack: as for `Event.sealed`.
    """

    def __init__(
        self,
        commits: Sequence[Commit],
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
    ) -> None:
        self._outcomes: list[Outcome] = [0] * len(commits)
        self._pending = {
            index: Prepared(index, commit, pack, unpack) for index, commit in enumerate(commits)
        }

    def store(self, writer: Writer) -> list[Outcome]:
        """Store what can be stored.

        Returns:
            Of each commit its last position, or why it failed.
        """
        try:
            while self._pending:
                self._store_round(writer)
        except EskernelError as error:  # what earlier rounds have stored is stored
            for index in self._pending:
                self._outcomes[index] = _own(error)
        return self._outcomes

    def _store_round(self, writer: Writer) -> None:
        """Store one round, and settle what it does not store."""
        this = Round()
        for commit in self._pending.values():
            this.take(commit)
        position, heads = writer.write(this)
        now = dict(zip(this.streams, heads, strict=True))
        for index, commit in this.sent:
            if heads[index] == this.expected[index]:
                position += len(commit.columns)
                now[commit.stream_id] += len(commit.columns)
                self._settle(commit, position)
        if self._pending:
            self._settle_left(writer, now)

    def _settle_left(self, writer: Writer, heads: dict[StreamId, int]) -> None:
        """Settle, of each stream, the commits up to the first that could be stored now."""
        broken: set[StreamId] = set()
        fit: set[StreamId] = set()
        for commit in [*self._pending.values()]:
            stream_id, head = commit.stream_id, heads[commit.stream_id]
            if stream_id in fit:
                continue
            if stream_id in broken:  # decided on events that were not stored; may fit by chance
                self._settle(commit, ConcurrencyConflict(stream_id, commit.expected, head))
            elif commit.error is not None:
                broken.add(stream_id)
                self._settle(commit, commit.error)
            elif commit.expected == head:
                fit.add(stream_id)
            else:
                found = writer.find(commit)
                if len(found) == len(commit.columns):
                    self._settle(commit, found[-1])
                else:
                    broken.add(stream_id)
                    self._settle(commit, ConcurrencyConflict(stream_id, commit.expected, head))

    def _settle(self, commit: Prepared, outcome: Outcome) -> None:
        self._outcomes[commit.index] = outcome
        del self._pending[commit.index]


def _own(error: EskernelError) -> EskernelError:
    """Return a copy: whoever raises an error adds to its traceback."""
    own = copy(error)
    own.__cause__ = error.__cause__
    return own
