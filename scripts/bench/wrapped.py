"""Stores that do a little more, or a little less, than the one they wrap."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from eskernel.contracts import Commit, EventStore
from scripts.bench.streams import Batching


class _Wrapped:
    """An EventStore that passes every call on to another."""

    def __init__(self, store: EventStore) -> None:
        self.append = store.append
        self.fold = store.fold
        self.fold_all = store.fold_all
        self.last_position = store.last_position
        self.close = store.close


class Unbatched(_Wrapped):
    """A store without `append_batch`: the kernel then makes every append durable by itself.

    Args:
        store: where the appends go.
    """


class Counting(_Wrapped):
    """A store that remembers how many commits each batch had.

    Args:
        store: where the batches go.
    """

    def __init__(self, store: Batching) -> None:
        super().__init__(store)
        self._append_batch = store.append_batch
        self._sizes: list[int] = []

    def append_batch(self, commits: Sequence[Commit]) -> list[int | Exception]:
        """Store many appends in one durable write."""
        self._sizes.append(len(commits))
        return self._append_batch(commits)

    def forget(self) -> None:
        """Begin to count anew."""
        self._sizes.clear()

    def average(self) -> int:
        """Return the average number of commits in a batch, rounded."""
        return round(mean(self._sizes))
