"""Stores that break what a CheckpointStore promises of leases, each in a way of its own."""

import time

from broken_checkpoints import Opened

from eskernel.values import Lease
from eskernel_stores import MemoryStore
from eskernel_stores.leases import Held


class ForgetsEpochsGivenBack(Opened):
    def release_lease(self, name, owner):
        if self.kept(name).held.owner == owner:
            self.keep(name, held=Held())


class CountsLeasesOnly(Opened):
    """Whatever epochs saves had."""

    def acquire_lease(self, name, owner, seconds):
        held = self.kept(name).held
        if held.owner is None:
            self.counted = getattr(self, "counted", 0)
            self.keep(name, held=Held(None, self.counted))
        lease = super().acquire_lease(name, owner, seconds)
        self.counted = lease.epoch
        return lease


class CountsEpochsFromZero(MemoryStore):
    def acquire_lease(self, name, owner, seconds):
        lease = super().acquire_lease(name, owner, seconds)
        return lease._replace(epoch=lease.epoch - 1)


class LetsTwoHoldALease(Opened):
    def acquire_lease(self, name, owner, seconds):
        lease = super().acquire_lease(name, owner, seconds)
        return lease._replace(owner=owner)


class ExtendsALeaseForOthers(Opened):
    def acquire_lease(self, name, owner, seconds):
        holder = self.kept(name).held.owner or owner
        return super().acquire_lease(name, holder, seconds)


class GivesNewEpochsAtRenewal(Opened):
    def acquire_lease(self, name, owner, seconds):
        self.release_lease(name, owner)
        return super().acquire_lease(name, owner, seconds)


class NeverShortensALease(Opened):
    def acquire_lease(self, name, owner, seconds):
        held = self.kept(name).held
        if held.owner == owner:
            seconds = max(seconds, held.expires - time.monotonic())
        return super().acquire_lease(name, owner, seconds)


class NeverLetsALeaseRunOut(MemoryStore):
    def acquire_lease(self, name, owner, seconds):
        lease = super().acquire_lease(name, owner, 10**9)
        return lease._replace(seconds=min(seconds, lease.seconds))


class LetsLeasesRunOutEarly(MemoryStore):
    def acquire_lease(self, name, owner, seconds):
        return super().acquire_lease(name, owner, seconds / 2)


class LateGetsNewEpochs(Opened):
    def acquire_lease(self, name, owner, seconds):
        held = self.kept(name).held
        if held.owner == owner and held.expires <= time.monotonic():
            self.keep(name, held=Held(None, held.epoch))
        return super().acquire_lease(name, owner, seconds)


class TakesOverUnderTheSameEpoch(Opened):
    def acquire_lease(self, name, owner, seconds):
        held = self.kept(name).held
        if held.owner is not None and held.expires <= time.monotonic():
            self.keep(name, held=held._replace(owner=owner))
        return super().acquire_lease(name, owner, seconds)


class LetsAnybodyGiveBack(Opened):
    def release_lease(self, name, owner):
        self.keep(name, held=Held(None, self.kept(name).held.epoch))


class StripsOwners(MemoryStore):
    """As a database that compares with blanks padded."""

    def acquire_lease(self, name, owner, seconds):
        lease = super().acquire_lease(name, owner.strip(), seconds)
        return lease._replace(owner=owner) if lease.owner == owner.strip() else lease


class TakesAnySeconds(MemoryStore):
    def acquire_lease(self, name, owner, seconds):
        return super().acquire_lease(name, owner, max(seconds, 0) if seconds == seconds else 0)


class LooksAtLeasesBeforeItTakesThem(Opened):
    def acquire_lease(self, name, owner, seconds):
        now = time.monotonic()
        held = self.kept(name).held.acquired(owner, seconds, now)
        time.sleep(0.0002)
        self.keep(name, held=held)
        return Lease(held.owner, held.epoch, seconds)
