"""Leases in a bucket: one message for each name, which also guards the checkpoints of the name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from eskernel.errors import CorruptStore
from eskernel.values import Lease
from eskernel_stores.jetstream.buckets.bucket import Bucket, unix_seconds
from eskernel_stores.jetstream.buckets.records import FORMAT, check_format, pack, unpack
from eskernel_stores.jetstream.connecting.replies import Message
from eskernel_stores.leases import Held


class Guard(NamedTuple):
    """What is known of a name besides its checkpoints.

    Attributes:
        sequence: of the message it was found in; 0 if there is none.
        held: the lease. It runs out by the server's clock.
        chunks: from the key of a slot to the id of its chunks, for slots that have some.
        dropped: keys of chunks that no slot has any more; they may be there still.
    """

    sequence: int
    held: Held
    chunks: Mapping[str, str]
    dropped: Sequence[str]


_NONE: Final = Guard(0, Held(), {}, ())


async def find(bucket: Bucket, key: str) -> Guard:
    """Return what is at a key.

    Raises:
        CorruptStore: it is damaged, or deleted.
    """
    stored = await bucket.last(key)
    if stored is None:
        return _NONE
    what = f"the lease at {bucket.shown(key)}"
    fields = unpack(stored.payload, what)
    check_format(fields, what)
    try:
        _, owner, epoch, since, seconds, chunks, dropped = fields
        expires = (unix_seconds(stored.time) if since is None else since) + seconds
        return Guard(stored.sequence, Held(owner, epoch, expires), dict(chunks), tuple(dropped))
    except (TypeError, ValueError) as error:
        raise CorruptStore(f"{what} is damaged: {error}") from error


def message(bucket: Bucket, key: str, guard: Guard) -> Message:
    """Return what stores a guard, with the time at which its lease runs out."""
    return _message(bucket, key, guard, 0.0, guard.held.expires)


async def acquire(bucket: Bucket, key: str, owner: str, seconds: float) -> Lease:
    """Take or renew a lease; see `CheckpointStore.acquire_lease`.

    It runs from the server's time of the message: only who meets another's needs to ask for it.

    Raises:
        LostRace: it has changed meanwhile.
    """
    guard = await find(bucket, key)
    now = 0.0 if guard.held.owner in (None, owner) else await bucket.now()
    held = guard.held.acquired(owner, seconds, now)
    if held is guard.held:
        return held.shown(now)
    made = _message(bucket, key, guard._replace(held=held), None, seconds)
    await bucket.write([made], guard.sequence, ())
    return Lease(owner, held.epoch, seconds)


async def release(bucket: Bucket, key: str, owner: str) -> None:
    """Give a lease back; see `CheckpointStore.release_lease`.

    Where the servers have just lost sight of each other it may be kept, until it runs out.

    Raises:
        LostRace: it has changed meanwhile.
    """
    guard = await find(bucket, key)
    held = guard.held.released(owner)
    if held is not guard.held:
        made = message(bucket, key, guard._replace(held=held))
        await bucket.write([made], guard.sequence, ())


def _message(
    bucket: Bucket, key: str, guard: Guard, since: float | None, seconds: float
) -> Message:
    """Return what stores a guard; its lease runs from a time, or from that of the message."""
    _, (owner, epoch, _), chunks, dropped = guard
    fields: tuple[Any, ...] = (FORMAT, owner, epoch, since, float(seconds), chunks, dropped)
    return bucket.message(key, pack(fields))
