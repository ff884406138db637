"""Placing: which worker has which shard."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def worker_of_each_shard(workers: Sequence[str], shards: int) -> list[int]:
    """Return, for each shard, the index of its worker.

    Rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
    1998), with room for an equal share at each worker: a shard goes to the worker that scores
    highest for it among those that are not full. So none has more than its share, rounded up; the
    same names give the same workers in every process; and one more worker takes little but its
    share.

    Args:
        workers: their names.
        shards: how many there are.
    """
    most = -(-shards // len(workers))
    room = [most] * len(workers)
    chosen_of_each = []
    for shard in range(shards):
        ranked = sorted(
            range(len(workers)), key=lambda index: _score(workers[index], shard), reverse=True
        )
        chosen = next(index for index in ranked if room[index])
        room[chosen] -= 1
        chosen_of_each.append(chosen)
    return chosen_of_each


def _score(worker: str, shard: int) -> bytes:
    return blake2b(f"{worker}\0{shard}".encode(), digest_size=8).digest()
