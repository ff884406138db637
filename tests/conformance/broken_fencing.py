"""Stores that break what a FencingEventStore promises, each in a way of its own."""

import time
from threading import RLock

from broken_checkpoints import Opened

from eskernel.errors import ConcurrencyConflict, NotStorable, StaleEpoch
from eskernel_stores.checking import check_text
from eskernel_stores.leases import check_seconds


class Fencing(Opened):
    """A MemoryStore that fences, and keeps every promise."""

    def __init__(self):
        super().__init__()
        self.fencing = RLock()  # held by whoever appends under a fence, or changes a lease

    def append_fenced(self, commits, fences):
        broken = set()
        with self.fencing:
            return [
                self.append_one(commit, fence, broken)
                for commit, fence in zip(commits, fences, strict=True)
            ]

    def append_one(self, commit, fence, broken):
        try:
            if fence is not None and not self.was_stored(commit):
                self.check(fence)
        except (StaleEpoch, NotStorable) as error:
            broken.add(commit.stream_id)
            return error
        return self._try_append(commit, broken)

    def check(self, fence):
        name, epoch = fence
        check_text("fence", name)
        newest = self.kept(name).held.epoch
        if epoch != newest:
            raise StaleEpoch(name, epoch, newest)

    def was_stored(self, commit):
        stream = self._streams.get(commit.stream_id, ())
        try:
            self._stored_before(commit.stream_id, stream, *commit[1:])
        except ConcurrencyConflict:
            return False
        return True

    def acquire_lease(self, name, owner, seconds):
        with self.fencing:
            return super().acquire_lease(name, owner, seconds)

    def acquire_leases(self, names, owner, seconds):
        check_seconds(seconds)
        with self.fencing:
            return [self.acquire_lease(name, owner, seconds) for name in names]

    def release_leases(self, names, owner):
        with self.fencing:
            for name in names:
                self.release_lease(name, owner)


class RefusesEverything(Fencing):
    def check(self, fence):
        raise StaleEpoch(*fence, self.kept(fence.name).held.epoch)


class Forgets(Fencing):
    """To check at all."""

    def check(self, fence):
        pass


class ChecksTheLastOnly(Fencing):
    """Who had the lease before the one who lost it is admitted."""

    def check(self, fence):
        if fence.epoch == self.kept(fence.name).held.epoch - 1:
            super().check(fence)


class RefusesAfterStoring(Fencing):
    def append_one(self, commit, fence, broken):
        result = self._try_append(commit, broken)
        return super().append_one(commit._replace(append_id=0), fence, broken) or result


class AdmitsLargerEpochs(Fencing):
    def check(self, fence):
        if fence.epoch < self.kept(fence.name).held.epoch:
            super().check(fence)


class WantsALeaseThatIsValid(Fencing):
    def check(self, fence):
        held = self.kept(fence.name).held
        if held.owner is None:
            raise StaleEpoch(*fence, held.epoch)
        super().check(fence)


class RefusesWhatWasStored(Fencing):
    def was_stored(self, commit):
        return False


class TakesAPlaceForTheAppend(Fencing):
    """Whatever is stored where the commit should be is taken for it."""

    def was_stored(self, commit):
        return len(self._streams.get(commit.stream_id, ())) > commit.expected_sequence


class FailsTheWholeBatch(Fencing):
    def append_fenced(self, commits, fences):
        with self.fencing:
            results = super().append_fenced([], [])
            for fence in filter(None, fences):
                try:
                    self.check(fence)
                except StaleEpoch as error:
                    return [error] * len(commits)
            return results + super().append_fenced(commits, fences)


class TakesTheBatchsFirstFence(Fencing):
    def append_fenced(self, commits, fences):
        return super().append_fenced(commits, [*fences[:1]] * len(commits))


class LetsBrokenChainsGoOn(Fencing):
    def append_one(self, commit, fence, broken):
        return super().append_one(commit, fence, set())


class ConflictsFirst(Fencing):
    def append_one(self, commit, fence, broken):
        head = len(self._streams.get(commit.stream_id, ()))
        if head != commit.expected_sequence and not self.was_stored(commit):
            broken.add(commit.stream_id)
            return ConcurrencyConflict(commit.stream_id, commit.expected_sequence, head)
        return super().append_one(commit, fence, broken)


class IgnoresCaseOfFences(Fencing):
    def check(self, fence):
        upper = [name for name in self._checkpoints._names if name.upper() == fence.name.upper()]
        if fence.epoch not in [self.kept(name).held.epoch for name in upper]:
            super().check(fence)


class FailsAllForAnUnfitName(Fencing):
    def check(self, fence):
        fence.name.encode()
        super().check(fence)


class ChecksBeforeItWrites(Fencing):
    """Another may get the lease between the check and the write."""

    def append_fenced(self, commits, fences):
        with self.fencing:
            stale = [self.refusal(*pair) for pair in zip(commits, fences, strict=True)]
        time.sleep(0.0001)  # only opens the window
        fine = [commit for commit, error in zip(commits, stale, strict=True) if error is None]
        results = iter(self.append_batch(fine))
        return [next(results) if error is None else error for error in stale]

    def refusal(self, commit, fence):
        try:
            return (fence and not self.was_stored(commit) and self.check(fence)) or None
        except (StaleEpoch, NotStorable) as error:
            return error


class FencesWhenItLooksAgain(Fencing):
    """As a writer that remembers which epochs it has seen, and looks again at every tenth."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def check(self, fence):
        epoch, uses = self.seen.get(fence.name, (0, 0))
        if epoch != fence.epoch or uses % 10 == 0:
            super().check(fence)
        self.seen[fence.name] = (fence.epoch, uses + 1)
