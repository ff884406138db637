"""Batch: many appends, sorted into rounds of which each is one durable write.

Nearly always there is one round. Another follows when a commit turns out to have been stored
before, under its own append id, and the commits chained to it were not; or when a round is full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Final, Protocol

from eskernel.contracts import Commit, Fence
from eskernel.errors import ConcurrencyConflict, EskernelError, StaleEpoch, StoreUnavailable
from eskernel.values import StreamId
from eskernel_stores.batching.prepared import Form, Join, Prepared
from eskernel_stores.batching.round import Round, Written
from eskernel_stores.checking import check_stream

Outcome = int | Exception

ROUND_BYTES: Final = 1 << 26
"""Of payloads and metadata, with which a round is full. Databases refuse a gigabyte."""


class Writer(Protocol):
    """What a batch needs of a store."""

    def write(self, round: Round) -> Written:
        """Store a round durably, or as much of it as its streams allow.

        Raises:
            StoreUnavailable: the store cannot be reached; commits of the round may be stored if
                `outcome_unknown`.
        """
        ...

    def find(self, commit: Prepared) -> list[int]:
        """Return the positions of events stored where the commit's should be, under its append id.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        ...


HasRoom = Callable[[Round, Prepared], bool]
"""Whether a round that has commits can take one more."""


class Batch:
    """Appends on their way into a store; used once.

    Args:
        commits: the appends, in order.
        pack, unpack: as for `Event.sealed`.
        form: what the store keeps of an event.
        join: what it keeps of a commit, if it keeps its events together.
        has_room: says when a round is full; after `ROUND_BYTES` if not given.
        fences: of each commit, in order, the lease it depends on, or None; for writers that look
            at `Round.fences`.

    Raises:
        ValueError: there are more or fewer fences than commits.
    """

    def __init__(
        self,
        commits: Sequence[Commit],
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
        form: Form,
        join: Join | None = None,
        has_room: HasRoom | None = None,
        fences: Sequence[Fence | None] | None = None,
    ) -> None:
        if fences is None:
            fences = (None,) * len(commits)
        self._has_room = has_room or _has_room
        self._outcomes: list[Outcome] = [0] * len(commits)
        self._pending: dict[int, Prepared] = {}
        for index, (commit, fence) in enumerate(zip(commits, fences, strict=True)):
            try:
                check_stream(commit.stream_id)
            except EskernelError as error:
                self._outcomes[index] = error
            else:
                self._pending[index] = Prepared(index, commit, pack, unpack, form, join, fence)

    def store(self, writer: Writer) -> list[Outcome]:
        """Store what can be stored.

        Returns:
            Of each commit its last position, or why it failed.
        """
        try:
            while self._pending:
                self._store_round(writer)
        except EskernelError as error:  # what earlier rounds have stored is stored
            for commit in [*self._pending.values()]:
                self._settle(commit, commit.error or _own(error))
        return self._outcomes

    def _store_round(self, writer: Writer) -> None:
        """Store one round, and settle what it does not store."""
        this = Round()
        for commit in self._pending.values():
            if this.streams and not self._has_room(this, commit):
                break
            this.take(commit)
        heads, ends, stale = writer.write(this)
        now = dict(zip(this.streams, heads, strict=True))
        for (index, commit), end in zip(this.sent, ends, strict=True):
            if this.admits(index, heads, stale):
                now[commit.stream_id] += len(commit.events)
                self._settle(commit, end)
        if self._pending:
            self._settle_left(writer, now, {**this.fences, **stale})

    def _settle_left(
        self, writer: Writer, heads: dict[StreamId, int], newest: dict[str, int]
    ) -> None:
        """Settle, of each stream looked at, the commits up to the first that would fit now."""
        broken: set[StreamId] = set()
        fit: set[StreamId] = set()
        for commit in [*self._pending.values()]:
            stream_id = commit.stream_id
            if stream_id in fit or stream_id not in heads:
                continue
            head = heads[stream_id]
            refusal = _refusal(commit, head, newest)
            if stream_id in broken:  # decided on events that were not stored; may fit by chance
                conflict = ConcurrencyConflict(stream_id, commit.expected, head)
                self._settle(commit, refusal or conflict)
            elif commit.error is not None:
                broken.add(stream_id)
                self._settle(commit, commit.error)
            elif refusal is None:
                fit.add(stream_id)
            elif commit.expected != head and (found := self._find(writer, commit, heads)):
                self._settle(commit, found)
            else:
                broken.add(stream_id)
                self._settle(commit, refusal)

    def _find(self, writer: Writer, commit: Prepared, heads: dict[StreamId, int]) -> int:
        """Return the last position of a commit that was stored before; 0 if it was not."""
        try:
            found = writer.find(commit)
        except StoreUnavailable as error:
            for left in [*self._pending.values()]:  # may be what moved their streams on
                if left.error is None and heads.get(left.stream_id) not in (None, left.expected):
                    self._settle(left, _own(error, outcome_unknown=True))
            raise
        return found[-1] if len(found) == len(commit.events) else 0

    def _settle(self, commit: Prepared, outcome: Outcome) -> None:
        self._outcomes[commit.index] = outcome
        del self._pending[commit.index]


def _refusal(commit: Prepared, head: int, newest: dict[str, int]) -> EskernelError | None:
    """Return why a commit that was not stored before does not fit now; None if it does.

    Args:
        commit: the commit.
        head: the sequence its stream is at.
        newest: the epochs of names.
    """
    if commit.fence is not None:
        name, epoch = commit.fence
        if newest.get(name, epoch) != epoch:
            return StaleEpoch(name, epoch, newest[name])
    if commit.expected != head:
        return ConcurrencyConflict(commit.stream_id, commit.expected, head)
    return None


def _has_room(round: Round, _commit: Prepared) -> bool:
    return round.size < ROUND_BYTES


def _own(error: EskernelError, **facts: Any) -> EskernelError:
    """Return a copy: whoever raises an error adds to its traceback."""
    own = copy(error)
    own.__cause__ = error.__cause__
    own.__dict__.update(facts)
    return own
