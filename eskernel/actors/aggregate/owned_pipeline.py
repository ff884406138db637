"""OwnedPipeline: decides only what is its kernel's, and only on what was read as its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eskernel.actors.aggregate.pipeline import Pipeline
from eskernel.actors.committer import Chain

if TYPE_CHECKING:
    from eskernel.actors.aggregate.requests import CommandRequest
    from eskernel.actors.aggregate.stream_actor import StreamActor
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.actors.committer import CommitQueue
    from eskernel.actors.owning.shards import Shards
    from eskernel.errors import EskernelError


class OwnedPipeline(Pipeline):
    """A pipeline of a kernel with shard leases.

    Invariants:

    - A command is decided only on a state that was brought up to the stream's end after the lease
      was got whose fence `chain` has: a chain with another fence, or none, is replaced, and the
      state is stale from then on, before anything is decided.
    - A chain keeps its fence for good, and the store compares it as it writes. So what was decided
      by one who has since lost the lease, however long he slept, is not stored.
    - A lease is changed for another only while nothing is pending: the state of before and the
      commands decided on it belong to one chain.

    Attributes:
        shard: the aggregate's.
    """

    __slots__ = ("shard", "shards")

    def __init__(self, actor: StreamActor, commits: CommitQueue, shards: Shards) -> None:
        super().__init__(actor, commits)
        self.shards = shards
        self.shard = shards.of(actor.stream_id)

    def decide(self, request: CommandRequest, turn: Turn) -> None:
        """Decide a command under the shard's lease, which is asked for if it is not held."""
        shard, now = self.shard, self.actor.services.monotonic()
        shard.used = now
        standing = shard.standing
        if now >= standing.until or standing.fence is not self.chain.fence:
            if self.pending:
                self._wait(request)
                return
            problem = self._enter()
            if problem is not None:
                self._reply(request, problem, turn)
                return
        super().decide(request, turn)

    def _wait(self, request: CommandRequest) -> None:
        """Put a command back, to be decided when what is pending has ended."""
        self.held_up = True
        self.actor.open_mailbox().appendleft(request)

    def _enter(self) -> EskernelError | None:
        """Get the lease, and have the state read again if it is another one; return why not."""
        actor = self.actor
        standing = self.shards.ask(self.shard, actor.stream_id)
        if isinstance(standing, Exception):
            return standing
        if standing.fence is not self.chain.fence:
            # In this order: interrupted in between, it is asked and read again.
            actor.stale = True
            self.chain = Chain(standing.fence)
        return None
