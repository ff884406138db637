"""Stores that do a little more, or a little less, than the one they wrap."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from eskernel.contracts import Commit, EventStore
from eskernel_stores.sql import SqlStore


class Unbatched:
    """A store without `append_batch`: the kernel then makes every append durable by itself.

    Args:
        store: where the appends go.
    """

    def __init__(self, store: EventStore) -> None:
        self.append = store.append
        self.fold = store.fold
        self.fold_all = store.fold_all
        self.last_position = store.last_position
        self.close = store.close


class Counting(SqlStore):
    """A SqlStore that remembers how many commits each batch had."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._sizes: list[int] = []

    def append_batch(self, commits: Sequence[Commit]) -> list[int | Exception]:
        """Store many appends in one transaction."""
        self._sizes.append(len(commits))
        return super().append_batch(commits)

    def forget(self) -> None:
        """Begin to count anew."""
        self._sizes.clear()

    def average(self) -> int:
        """Return the average number of commits in a batch, rounded."""
        return round(mean(self._sizes))
