"""Held: what is known of a name's lease, and what becomes of it; the rules of every store."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

from eskernel.errors import StaleEpoch
from eskernel.values import Lease
from eskernel_stores.checking import check_text


class Held(NamedTuple):
    """A name's lease as a store keeps it.

    Attributes:
        owner: who holds it, or None.
        epoch: the largest the name has seen; the owner's, if there is one. 0 for none yet.
        expires: until when, in seconds of the store's clock.
    """

    owner: str | None = None
    epoch: int = 0
    expires: float = 0.0

    def acquired(self, owner: str, seconds: float, now: float) -> Held:
        """Return it as it is after an owner has asked; itself if another's is valid."""
        if self.owner not in (None, owner) and self.expires > now:
            return self
        epoch = self.epoch if self.owner == owner else self.epoch + 1
        return Held(owner, epoch, now + seconds)

    def released(self, owner: str) -> Held:
        """Return it as it is after an owner has given it back; itself if it is another's."""
        return Held(None, self.epoch) if self.owner == owner else self

    def admitted(self, name: str, epoch: int) -> Held:
        """Return it as it is after a save; one from beyond its epoch ends it.

        Raises:
            StaleEpoch: the save came too late.
        """
        if epoch < self.epoch:
            raise StaleEpoch(name, epoch, self.epoch)
        return self if epoch == self.epoch else Held(None, epoch)

    def shown(self, now: float) -> Lease:
        """Return what somebody who asked is told."""
        assert self.owner is not None, "whoever asks leaves an owner"
        return Lease(self.owner, self.epoch, max(self.expires - now, 0.0))


def check_claim(names: Sequence[str], owner: str, seconds: float) -> None:
    """Raise NotStorable or ValueError unless an owner can hold leases of these names so long."""
    for name in names:
        check_text("name", name)
    check_text("owner", owner)
    check_seconds(seconds)


def check_seconds(seconds: float) -> None:
    """Raise ValueError unless a lease can be valid for so long."""
    if isnan(seconds) or seconds < 0:
        raise ValueError(f"a lease is valid for 0 seconds or more, not {seconds!r}")
