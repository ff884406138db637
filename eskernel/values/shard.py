"""Shards: aggregates in groups, to be divided between processes."""

from __future__ import annotations

from zlib import crc32

from eskernel.values.identifier import StreamId


def shard_of(stream_id: StreamId, shards: int) -> int:
    """Return the number of an aggregate's shard, 0 to `shards` - 1; the same in every process.

    A CRC-32 of type, NUL and id, which is the cheapest hash at hand that spreads similar names.

    Args:
        stream_id: the aggregate, whose strings can be encoded as UTF-8.
        shards: how many there are.
    """
    aggregate_type, aggregate_id = stream_id
    return crc32(f"{aggregate_type}\0{aggregate_id}".encode()) % shards
