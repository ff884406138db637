"""Balance: which shards move, so that every node has its share."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def moves(places: Sequence[str | None], nodes: Collection[str]) -> list[tuple[int, str]]:
    """Return the fewest moves, as (shard, node), after which no node has two more than another.

    Args:
        places: the node of each shard; None for one that Ray is just placing, which stays.
        nodes: those that may have shards.
    """
    if not nodes:
        return []
    have = {node: [i for i, place in enumerate(places) if place == node] for node in nodes}
    total = sum(map(len, have.values()))
    away = [i for i, place in enumerate(places) if place is not None and place not in have]
    least, more = divmod(total + len(away), len(have))
    # Those that have most keep the odd ones.
    ranked = sorted(have, key=lambda node: (-len(have[node]), node))
    shares = {node: least + (rank < more) for rank, node in enumerate(ranked)}
    spare = away + [shard for node in ranked for shard in have[node][shares[node] :]]
    wanting = [node for node in ranked for _ in range(shares[node] - len(have[node]))]
    return list(zip(spare, wanting, strict=True))
