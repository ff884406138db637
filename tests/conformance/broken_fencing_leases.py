"""Stores that break what a FencingEventStore promises of leases, each in a way of its own."""

import time

from broken_fencing import Fencing

from eskernel.contracts import Fence
from eskernel.errors import StaleEpoch
from eskernel.values import Lease
from eskernel_stores.leases import Held, check_seconds


class TakesLeasesOneByOne(Fencing):
    """In the order asked for, with locks of their own: two who ask may wait for each other."""

    def acquire_leases(self, names, owner, seconds):
        check_seconds(seconds)
        return [self.look_and_take(name, owner, seconds) for name in names]

    def look_and_take(self, name, owner, seconds):
        now = time.monotonic()
        held = self.kept(name).held.acquired(owner, seconds, now)
        time.sleep(0.00005)
        self.keep(name, held=held)
        return Lease(held.owner, held.epoch, seconds)


class TakesAllOrNone(Fencing):
    def acquire_leases(self, names, owner, seconds):
        with self.fencing:
            before = {name: self.kept(name) for name in names}
            leases = super().acquire_leases(names, owner, seconds)
            if any(lease.owner != owner for lease in leases):
                self._checkpoints._names.update(before)
            return leases


class GivesNewEpochsToAll(Fencing):
    def acquire_leases(self, names, owner, seconds):
        self.release_leases(names, owner)
        return super().acquire_leases(names, owner, seconds)


class AnswersInOrderOfNames(Fencing):
    def acquire_leases(self, names, owner, seconds):
        return super().acquire_leases(sorted(names), owner, seconds)


class GivesBackWhatIsOthers(Fencing):
    def release_leases(self, names, owner):
        for name in names:
            self.keep(name, held=Held(None, self.kept(name).held.epoch))


class TakesAnySeconds(Fencing):
    def acquire_leases(self, names, owner, seconds):
        return super().acquire_leases(names, owner, max(seconds, 0) if seconds == seconds else 0)


class BreaksByClosing(Fencing):
    def close(self):
        del self._checkpoints


class KeepsShardsApartFromLeases(Fencing):
    """In a table of their own."""

    def acquire_leases(self, names, owner, seconds):
        return super().acquire_leases([f"fence {name}" for name in names], owner, seconds)

    def release_leases(self, names, owner):
        super().release_leases([f"fence {name}" for name in names], owner)

    def check(self, fence):
        try:
            super().check(Fence(f"fence {fence.name}", fence.epoch))
        except StaleEpoch as error:
            raise StaleEpoch(*fence, error.newest) from error
