"""ShardLeases: how kernels that share a store divide its aggregates, checked."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from eskernel.actors.aggregate.limits import check_count
from eskernel.contracts import FencingEventStore
from eskernel.errors import InvalidCommand
from eskernel.values import check_identifier

_LONGEST_NAME: Final = 200  # characters; a lease's name has the numbers besides


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLeases:
    """One owner for each aggregate, among all kernels of a store that are given the same.

    Aggregates are grouped into shards, see `eskernel.values.shard_of`. A kernel takes a shard's
    lease when it gets a command for one of its aggregates, and gives it back when the shard has
    not been used for `seconds` and none of its aggregates is live, or when it stops.

    Attributes:
        shards: how many, at least 1; what moves from one kernel to another is a shard. Kernels
            with another number are not kept out.
        seconds: how long a lease is valid, more than 0; it is renewed three times as often. When
            a kernel has died, another waits so long.
        owner: how the kernel calls itself, 1 to 255 characters: what others get as
            `NotOwner.owner`. Unique in the world, and for one life: whoever comes after one that
            has died must have another name. None for a new one at each start.
        name: of this division, 1 to 200 characters; kernels of other names are not kept out.
        predecessor: an owner known to be dead, whose leases are given back at the start, so that
            nobody has to wait for them to run out.

    Raises:
        ValueError: a number or a name is out of its bounds.
    """

    shards: int = 256
    seconds: float = 5.0
    owner: str | None = None
    name: str = "aggregates"
    predecessor: str | None = None

    def __post_init__(self) -> None:
        check_count("shards", self.shards, 1)
        seconds = self.seconds
        if type(seconds) not in (int, float) or not (seconds > 0 and isfinite(seconds)):
            raise ValueError(f"seconds must be a number of more than 0, not {seconds!r}")
        _check_name("name", self.name)
        if len(self.name) > _LONGEST_NAME:
            raise ValueError(f"name must have 1 to {_LONGEST_NAME} characters, not {self.name!r}")
        for what in ("owner", "predecessor"):
            if getattr(self, what) is not None:
                _check_name(what, getattr(self, what))
        if self.owner is not None and self.owner == self.predecessor:
            raise ValueError(f"{self.owner!r} cannot succeed itself; name each life anew")

    def lease_name(self, shard: int) -> str:
        """Return the name of a shard's lease in the store."""
        return f"shard/{self.name}/{self.shards}/{shard}"


def can_fence(store: Any) -> bool:
    """Return whether a store checks leases in the write that stores a kernel's events."""
    return not getattr(store, "immediate", False) and isinstance(store, FencingEventStore)


def check_shard_leases(leases: Any, store: Any) -> None:
    """Check that a kernel can have these leases in this store, or None of them.

    Raises:
        TypeError: these are none.
        ValueError: the store cannot check them as it appends.
    """
    if leases is None:
        return
    if not isinstance(leases, ShardLeases):
        raise TypeError(f"shard_leases must be ShardLeases(...) or None, not {leases!r}")
    if not can_fence(store):
        reason = getattr(store, "cannot_fence", "checks no lease in the write that stores events")
        raise ValueError(
            f"shard_leases cannot be kept in this {type(store).__name__}: it {reason}; "
            "use an SqlStore or a MongoStore, or leave them out"
        )


def _check_name(what: str, name: Any) -> None:
    try:
        check_identifier(what, name)
    except InvalidCommand as error:
        raise ValueError(str(error)) from None
