"""Terms: what all shards of a name and all their fronts have in common."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple, Self

from eskernel.remote.failures import PLAIN
from eskernel.remote.setup import Setup

_IN_WORDS: Final = {
    "setup": "domains, stores or options",
    "release": "the release of eskernel",
}


class Terms(NamedTuple):
    """What all shards of a name and all their fronts must have in common.

    Attributes:
        name: of the set of shards.
        shards: how many there are.
        lease_seconds: how long a shard's lease in the event store is valid.
        release: of eskernel.
        setup: `Setup.packed`.
    """

    name: str
    shards: int
    lease_seconds: float
    release: str
    setup: bytes

    @classmethod
    def of(cls, name: str, shards: int, lease_seconds: float, setup: Setup) -> Self:
        """Return the terms of a front of this release."""
        return cls(name, shards, lease_seconds, release(), setup.packed())

    def packed(self) -> bytes:
        """Return them as bytes."""
        return PLAIN.pack(tuple(self), "terms")

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """Return what was packed."""
        return cls(*PLAIN.unpack(data))

    def check(self, others: Terms) -> None:
        """Raise ValueError if a front comes with others."""
        different = [
            _IN_WORDS.get(name, name)
            for name in self._fields
            if getattr(self, name) != getattr(others, name)
        ]
        if different:
            raise ValueError(
                f"the shards {self.name!r} run already, and differ in {', '.join(different)}; "
                "pass what they were made with, or another name, or end them with end_shards()"
            )


def release() -> str:
    """Return the release of eskernel; empty in a checkout that is not installed."""
    try:
        return version("eskernel")
    except PackageNotFoundError:
        return ""
