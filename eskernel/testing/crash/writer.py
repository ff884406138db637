"""The writer: threads that append to one store and report every acknowledged append."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event as Flag
from threading import Thread
from typing import Any, NamedTuple

from eskernel.contracts import EventStore, SnapshotStore
from eskernel.errors import ConcurrencyConflict, StoreUnavailable
from eskernel.testing.crash.appends import Append, id_of, snapshot_of
from eskernel.testing.crash.breakage import seeded
from eskernel.testing.crash.reports import DONE, OPENED, OPENING, Reports

_SHARED = "shared"
_OUTAGE = 60.0
"""Seconds after which a store that was down must work again."""


class Load(NamedTuple):
    """What one writer process does.

    Attributes:
        seed: of the campaign.
        run: which writer of the campaign this is.
        heads: the last sequence of each stream there is.
        threads: how many write at once.
        calls: how often each thread calls the store, or None to go on until killed.
        close: whether the store is closed when all threads are done.
    """

    seed: int
    run: int
    heads: dict[str, int]
    threads: int = 4
    calls: int | None = None
    close: bool = True


def write(store_of: Any, load: Load, reports: Reports, pid: int) -> None:
    """Open the store and put the load on it; returns when the threads are done."""
    reports.tell(OPENING, pid)
    store = store_of()
    reports.tell(OPENED)
    stop = Flag()
    writers = [_Writer(store, load, number, reports, stop) for number in range(load.threads)]
    running = [Thread(target=writer.run, daemon=True) for writer in writers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if load.close:
        store.close()
    reports.tell(DONE)


class _Writer:
    """Writes to streams of its own, and to one shared by all."""

    def __init__(
        self, store: EventStore, load: Load, number: int, reports: Reports, stop: Flag
    ) -> None:
        self._store = store
        self._batch = getattr(store, "append_batch", None)
        self._load = load
        self._reports = reports
        self._stop = stop
        self._random = seeded(load.seed, load.run, number)
        self._name = f"{load.run}.{number}"
        self._own = [f"own-{number}-{letter}" for letter in "abc"]
        self._heads = dict(load.heads)
        self._tokens = 0

    def run(self) -> None:
        """Call the store until enough is done, or a thread met what no store may do."""
        calls = 0
        try:
            while not self._stop.is_set() and calls != self._load.calls:
                calls += 1
                self._do(self._random.random())
        except Exception as error:  # noqa: BLE001 - the campaign has to hear of anything
            self._reports.failed(error)
            self._stop.set()

    def _do(self, chance: float) -> None:
        own = self._random.choice(self._own)
        if chance < 0.1:
            self._expect_wrongly(own)
        elif chance < 0.35 and self._batch is not None:
            self._append_batch()
        elif chance < 0.45:
            self._snapshot(own)
        elif chance < 0.6:
            self._append(self._next(_SHARED))
        else:
            self._append(self._next(own))

    def _next(self, stream: str, after: int | None = None) -> Append:
        self._tokens += 1
        expected = self._heads.get(stream, 0) if after is None else after
        return Append(f"{self._name}.{self._tokens}", stream, expected)

    def _append(self, append: Append) -> None:
        self._reports.trying([append])
        self._settle([append], [self._outcome(append)])

    def _append_batch(self) -> None:
        """Append to the same streams again and again in one batch, each after the one before."""
        heads: dict[str, int] = {}
        appends = []
        for _ in range(self._random.randint(2, 6)):
            stream = self._random.choice([*self._own[:2], self._own[0], _SHARED])
            append = self._next(stream, heads.get(stream))
            heads[stream] = append.last(self._load.seed)
            appends.append(append)
        self._reports.trying(appends)
        commits = [append.commit(self._load.seed) for append in appends]
        try:
            outcomes = self._batch(commits)  # type: ignore[misc]  # there, or not called
        except StoreUnavailable as error:
            outcomes = [error] * len(appends)
        self._settle(appends, outcomes)

    def _outcome(self, append: Append) -> int | Exception:
        commit = append.commit(self._load.seed)
        try:
            return self._store.append(
                commit.stream_id,
                commit.events,
                expected_sequence=commit.expected_sequence,
                append_id=commit.append_id,
            )
        except (ConcurrencyConflict, StoreUnavailable) as error:
            return error

    def _settle(self, appends: Sequence[Append], outcomes: Sequence[int | Exception]) -> None:
        pairs = [*zip(appends, outcomes, strict=True)]
        kept = [(append, outcome) for append, outcome in pairs if isinstance(outcome, int)]
        if kept:
            self._reports.stored(*zip(*kept, strict=True))
        for append, outcome in pairs:
            if isinstance(outcome, int):
                last = append.last(self._load.seed)
                self._heads[append.stream] = max(last, self._heads.get(append.stream, 0))
            else:
                self._cope(append, outcome)

    def _cope(self, append: Append, error: Exception) -> None:
        if isinstance(error, ConcurrencyConflict):
            self._reports.refused(append)
            if append.stream == _SHARED:
                self._heads[_SHARED] = error.actual
            return
        if not isinstance(error, StoreUnavailable):
            raise error
        self._reports.down(append, outcome_unknown=error.outcome_unknown)
        self._heads[append.stream] = self._when_up(append, error)

    def _when_up(self, append: Append, error: StoreUnavailable) -> int:
        """Send an append of unknown outcome again until it has one; return the stream's head."""
        deadline = time.monotonic() + _OUTAGE
        again = error.outcome_unknown and id_of(self._load.seed, append.token) is not None
        while time.monotonic() < deadline:
            try:
                return self._resolved(append, again=again)
            except StoreUnavailable:
                time.sleep(0.02)
        raise TimeoutError(f"the store is still down {_OUTAGE:g} seconds later") from error

    def _resolved(self, append: Append, *, again: bool) -> int:
        if again:
            outcome = self._outcome(append)
            if isinstance(outcome, int):
                self._reports.stored([append], [outcome])
            elif isinstance(outcome, StoreUnavailable):
                raise outcome
            else:
                self._reports.refused(append)
        return self._store.fold(append.stream_id, lambda _, event: event.sequence, 0)

    def _expect_wrongly(self, stream: str) -> None:
        """Expect a sequence the stream is not at: the store must refuse."""
        head = self._heads.get(stream, 0)
        wrong = self._random.choice([head + 1, head + 7, max(head - 1, 0), 0])
        if wrong == head:
            return
        append = self._next(stream, wrong)
        self._reports.trying([append])
        outcome = self._outcome(append)
        if not isinstance(outcome, Exception):
            raise AssertionError(  # noqa: TRY004 - no matter of types
                f"{append} was stored, though {stream} is at {head}"
            )
        self._cope(append, outcome)

    def _snapshot(self, stream: str) -> None:
        head = self._heads.get(stream, 0)
        if head and isinstance(self._store, SnapshotStore):
            try:
                self._store.store(snapshot_of(self._load.seed, stream, head))
            except StoreUnavailable:
                return  # a snapshot is an optimisation; the kernel goes on without, too
