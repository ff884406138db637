"""Stores that break what a CheckpointStore promises, each in a way of its own."""

import time
from threading import Lock

from eskernel.errors import StaleEpoch
from eskernel.values import SERVING, Checkpoint
from eskernel_stores import MemoryStore
from eskernel_stores.leases import Held
from eskernel_stores.memory_checkpoints import _NOTHING, _Kept


class Opened(MemoryStore):
    """A MemoryStore whose innards are at hand."""

    def kept(self, name):
        return self._checkpoints._names.get(name, _NOTHING)

    def keep(self, name, held=None, slots=None):
        before = self.kept(name)
        self._checkpoints._names[name] = _Kept(
            before.held if held is None else held, before.slots if slots is None else slots
        )


class HasAnEmptyCheckpoint(MemoryStore):
    def load_checkpoint(self, name, slot=SERVING):
        return super().load_checkpoint(name, slot) or Checkpoint(0, "", b"")


class ForgetsNotes(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        bare = {slot: one and one._replace(notes=b"") for slot, one in slots.items()}
        super().save_checkpoints(name, epoch, bare)


class KeepsTheCheckpointsOwnEpoch(Opened):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, epoch, slots)
        own = {slot: one for slot, one in slots.items() if one is not None}
        self.keep(name, slots={**self.kept(name).slots, **own})


class CutsLargeStates(MemoryStore):
    """As a column of a type too small."""

    def load_checkpoint(self, name, slot=SERVING):
        found = super().load_checkpoint(name, slot)
        return found and found._replace(state=found.state[: 2**22])


class IgnoresCase(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name.casefold(), epoch, slots)

    def load_checkpoint(self, name, slot=SERVING):
        return super().load_checkpoint(name.casefold(), slot)


class RunsNameAndSlotTogether(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        for slot, one in slots.items():
            super().save_checkpoints(f"{name}-{slot}", epoch, {"": one})

    def load_checkpoint(self, name, slot=SERVING):
        return super().load_checkpoint(f"{name}-{slot}", "")


class KeepsTheLargestPosition(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        before = {slot: self.load_checkpoint(name, slot) for slot in slots}
        later = {
            slot: one
            for slot, one in slots.items()
            if not (one and before[slot] and before[slot].position > one.position)
        }
        super().save_checkpoints(name, epoch, later)


class DropsOtherSlots(Opened):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, epoch, slots)
        kept = self.kept(name).slots
        self.keep(name, slots={slot: one for slot, one in kept.items() if slot in slots})


class LiftsTheEpochOfAllSlots(Opened):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, epoch, slots)
        kept = self.kept(name).slots
        self.keep(name, slots={slot: one._replace(epoch=epoch) for slot, one in kept.items()})


class NeverEmptiesASlot(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        full = {slot: one for slot, one in slots.items() if one is not None}
        super().save_checkpoints(name, epoch, full)


class SharesTheMapping(Opened):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, epoch, slots)
        if epoch == 0 and None not in slots.values():
            self.keep(name, slots=slots)


class AcceptsSmallerEpochs(Opened):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, max(epoch, self.kept(name).held.epoch), slots)


class StoresBeforeItChecks(Opened):
    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, self.kept(name).held.epoch, slots)
        super().save_checkpoints(name, epoch, slots)


class ComparesEpochsAsText(Opened):
    def save_checkpoints(self, name, epoch, slots):
        newest = self.kept(name).held.epoch
        if str(epoch) < str(newest):
            raise StaleEpoch(name, epoch, newest)
        super().save_checkpoints(name, epoch, slots)


class RefusesTheSameEpoch(Opened):
    def save_checkpoints(self, name, epoch, slots):
        if self.kept(name).held.epoch == epoch > 0:
            raise StaleEpoch(name, epoch, epoch)
        super().save_checkpoints(name, epoch, slots)


class SaysNoNumbers(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        try:
            super().save_checkpoints(name, epoch, slots)
        except StaleEpoch:
            raise StaleEpoch(name, 0, 0) from None


class KnowsEpochsByCheckpoints(Opened):
    """What is emptied takes its epoch with it."""

    def save_checkpoints(self, name, epoch, slots):
        super().save_checkpoints(name, epoch, slots)
        newest = max((one.epoch for one in self.kept(name).slots.values()), default=0)
        self.keep(name, held=Held(None, newest))


class IgnoresEpochsOfLeases(Opened):
    def save_checkpoints(self, name, epoch, slots):
        held = self.kept(name).held
        self.keep(name, held=Held(None, min(epoch, held.epoch)))
        try:
            super().save_checkpoints(name, epoch, slots)
        finally:
            if held.epoch > epoch:
                self.keep(name, held=held)


class SavesSlotsOneByOne(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        for slot, one in slots.items():
            super().save_checkpoints(name, epoch, {slot: one})
            time.sleep(0.0005)


class ReadsThenWrites(Opened):
    """Without a lock around both."""

    def save_checkpoints(self, name, epoch, slots):
        held = self.kept(name).held.admitted(name, epoch)
        before = self.kept(name).slots
        time.sleep(0.0001)
        new = {slot: one._replace(epoch=epoch) for slot, one in slots.items() if one}
        self.keep(name, held, {**before, **new})


class ChecksEpochsBeforeItLocks(Opened):
    def __init__(self):
        super().__init__()
        self.lock = Lock()

    def save_checkpoints(self, name, epoch, slots):
        held = self.kept(name).held.admitted(name, epoch)
        time.sleep(0.005)
        with self.lock:
            new = {slot: one._replace(epoch=epoch) for slot, one in slots.items() if one}
            self.keep(name, held, {**self.kept(name).slots, **new})


class BreaksByClosing(MemoryStore):
    def close(self):
        self._checkpoints = None


class RefusesWhatIsAheadOfTheLog(MemoryStore):
    def save_checkpoints(self, name, epoch, slots):
        if any(one and one.position > self.last_position() for one in slots.values()):
            raise ValueError("there is no such position")
        super().save_checkpoints(name, epoch, slots)
