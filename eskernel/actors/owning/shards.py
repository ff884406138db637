"""Shards: asks for leases, renews them, gives them back, and appends under them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from eskernel.actors.outcomes import own
from eskernel.actors.owning.options import ShardLeases
from eskernel.actors.owning.shard import Shard, Standing
from eskernel.contracts import Clock, Commit, Fence, FencingEventStore
from eskernel.errors import (
    EskernelError,
    KernelStopped,
    NotOwner,
    StaleEpoch,
    StoreUnavailable,
)
from eskernel.leasing import new_owner
from eskernel.values import StreamId, shard_of


class Shards:
    """All shards, as one running kernel sees them; every method may be called from many threads.

    What is known here saves questions and work that would be in vain. That nothing is stored by
    who has lost a lease is the store's doing, which compares each append's fence as it writes.

    Attributes:
        owner: how the kernel calls itself.
        seconds: how long a lease is valid.

    Args:
        store: where the leases and the events are.
        leases: what the user wants.
        clock: by which leases run out here.
    """

    def __init__(self, store: FencingEventStore, leases: ShardLeases, clock: Clock) -> None:
        self._store = store
        self.owner = leases.owner or new_owner()
        self.seconds = leases.seconds
        self._monotonic = clock.monotonic
        self._shards = [Shard(n, leases.lease_name(n)) for n in range(leases.shards)]
        self._by_name = {shard.name: shard for shard in self._shards}
        # Whose leases are given back before they are asked for; None once all are.
        self._predecessor = leases.predecessor
        # Set before all leases are given back, and looked at after one was got: so either the one
        # who closes or the one who asks gives it back.
        self._closed = False

    def of(self, stream_id: StreamId) -> Shard:
        """Return an aggregate's shard."""
        return self._shards[shard_of(stream_id, len(self._shards))]

    def held(self) -> list[Shard]:
        """Return the shards whose leases are this kernel's, or were when it looked last."""
        return [shard for shard in self._shards if shard.standing.fence is not None]

    def __len__(self) -> int:
        return len(self._shards)

    # For one command.

    def ask(self, shard: Shard, stream_id: StreamId) -> Standing | EskernelError:
        """Return a shard's standing with a lease that is this kernel's, or why there is none.

        Asks the store if that is needed, on this thread; of all that need it one asks, and the
        others have its answer or its failure.

        Args:
            shard: the aggregate's.
            stream_id: the aggregate.
        """
        answer: Standing | EskernelError | None = None
        while answer is None:
            asks = shard.asks
            answer = self._known(shard, stream_id)
            if answer is None:
                answer = self._ask_in_turn(shard, stream_id, asks)
        return answer

    def _ask_in_turn(
        self, shard: Shard, stream_id: StreamId, asks: int
    ) -> Standing | EskernelError | None:
        with shard.asking:
            answer = self._known(shard, stream_id)
            if answer is not None:
                return answer
            if shard.asks != asks and shard.failure is not None:
                return own(shard.failure)
            return self._ask(shard, stream_id)

    def _known(self, shard: Shard, stream_id: StreamId) -> Standing | NotOwner | None:
        """Return what need not be asked for; None when the store must be."""
        now, standing = self._monotonic(), shard.standing
        if now < standing.until:
            return standing
        if now < standing.ask_at:
            return NotOwner(stream_id, standing.owner, max(0.0, standing.free_at - now))
        return None

    def _ask(self, shard: Shard, stream_id: StreamId) -> Standing | EskernelError | None:
        """Ask the store; None when what it said was overtaken by a failed append."""
        if self._closed:
            return _stopped()
        try:
            self._acquire([shard])
        except Exception as error:  # noqa: BLE001 - the command's outcome
            shard.failure = failure = _failure(error)
            shard.asks += 1
            return failure
        shard.failure = None
        shard.asks += 1
        if self._closed:
            self._release([shard])
            return _stopped()
        standing = shard.standing
        if standing.fence is not None:
            # Even if it has run out while the store took its time: what is decided now is decided
            # on what was true after the question, and stored only if it still is.
            return standing
        return self._known(shard, stream_id)

    def append(
        self, commits: Sequence[Commit], fences: Sequence[Fence | None]
    ) -> list[int | Exception]:
        """Store appends, each under its fence; note the leases that turn out to be lost."""
        results = self._store.append_fenced(commits, fences)
        for fence, result in zip(fences, results, strict=False):
            if isinstance(result, StaleEpoch) and fence is not None:
                self._by_name[fence.name].lose(fence, self._monotonic())
        return results

    # For the keeper.

    def renew(self) -> None:
        """Renew all leases that are held.

        Raises:
            StoreUnavailable: the store could not be reached; they run out.
        """
        shards = self.held()
        if shards:
            self._acquire(shards)

    def release_predecessor(self) -> None:
        """Give back the leases of the owner before this one; raises as `renew`."""
        if self._predecessor is not None:
            self._store.release_leases(list(self._by_name), self._predecessor)
            self._predecessor = None

    def give_back_unused(self, live: Collection[StreamId]) -> None:
        """Give back what has not been used for as long as a lease is valid; raises as `renew`.

        Args:
            live: aggregates whose shards are kept; other threads may change it.
        """
        idle_since = self._monotonic() - self.seconds
        unused = {shard for shard in self.held() if shard.used <= idle_since}
        for stream_id in list(live) if unused else ():
            unused.discard(self.of(stream_id))
            if not unused:
                return
        self._give_back(unused)

    def close(self) -> None:
        """Ask for no more leases, and give all back; raises as `renew`."""
        self._closed = True
        self._give_back([shard for shard in self._shards if shard.is_touched()])

    def _give_back(self, shards: Collection[Shard]) -> None:
        """Give leases back, but those that somebody asks for right now.

        Only by the keeper, whose thread nothing interrupts; the locks are not bound to a block.
        """
        taken = [shard for shard in shards if shard.asking.acquire(blocking=False)]
        try:
            for shard in taken:
                shard.lose(shard.standing.fence, self._monotonic())
            self._release(taken)
        finally:
            for shard in taken:
                shard.asking.release()

    # The store.

    def _acquire(self, shards: Sequence[Shard]) -> None:
        names = [shard.name for shard in shards]
        if self._predecessor is not None:
            self._store.release_leases(names, self._predecessor)
        asked = self._monotonic()
        leases = self._store.acquire_leases(names, self.owner, self.seconds)
        for shard, lease in zip(shards, leases, strict=True):
            shard.learn(lease, self.owner, self.seconds, asked)

    def _release(self, shards: Sequence[Shard]) -> None:
        if shards:
            self._store.release_leases([shard.name for shard in shards], self.owner)


def _failure(error: Exception) -> EskernelError:
    """Return what a command gets for what the store has raised: it has stored nothing."""
    known = isinstance(error, EskernelError)
    if known and not (isinstance(error, StoreUnavailable) and error.outcome_unknown):
        return error  # type: ignore[return-value]
    return StoreUnavailable.because(error, outcome_unknown=False)


def _stopped() -> KernelStopped:
    return KernelStopped("it is being stopped")
