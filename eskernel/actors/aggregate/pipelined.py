"""PipelinedActor: a stream's actor whose appends may end later.

It says what there is to do, and who does it: a caller its own command, the committer whatever is
done at once when an append was stored, and the pools the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eskernel.actors.aggregate.caller_run import CALLER_BATCH
from eskernel.actors.aggregate.owned_pipeline import OwnedPipeline
from eskernel.actors.aggregate.pipeline import Pipeline
from eskernel.actors.aggregate.stream_actor import StreamActor
from eskernel.actors.journal import log_safely

if TYPE_CHECKING:
    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.life import Life
    from eskernel.actors.aggregate.requests import Request
    from eskernel.actors.aggregate.services import Services
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.values import StreamId


class PipelinedActor(StreamActor):
    """Takes requests while earlier ones wait for the committer.

    Attributes:
        pipeline: takes the commands when appends end later; None for a store that appends at once.
    """

    __slots__ = ("pipeline",)

    def __init__(
        self, stream_id: StreamId, domain: BoundDomain, services: Services, life: Life
    ) -> None:
        super().__init__(stream_id, domain, services, life)
        self.pipeline: Pipeline | None = None
        if services.commits is not None:
            self.pipeline = (
                Pipeline(self, services.commits)
                if services.shards is None
                else OwnedPipeline(self, services.commits, services.shards)
            )

    def forget(self) -> None:
        """Trust nothing of the present state, speculative or not."""
        self.drop_state()
        if self.pipeline is not None:
            self.pipeline.forget()

    # What there is to do.

    def in_flight(self) -> int:
        """Return how many requests wait for appends to end."""
        return 0 if self.pipeline is None else len(self.pipeline.pending)

    def is_pending(self, request: Request) -> bool:
        """Return whether a request waits for appends to end; owner only."""
        pipeline = self.pipeline
        return pipeline is not None and any(one.request is request for one in pipeline.pending)

    def is_free(self) -> bool:
        """Return whether a request could be handled at once; owner only."""
        if self.mailbox or self.life.over:
            return False
        pipeline = self.pipeline
        return pipeline is None or not (
            pipeline.held_up
            or (pipeline.pending and len(pipeline.pending) >= self.services.limits.inbox_limit)
        )

    def held_up(self) -> bool:
        """Return whether the mailbox must wait."""
        pipeline = self.pipeline
        if pipeline is not None and (pipeline.held_up or (self.life.over and pipeline.pending)):
            return True
        return self.life.over and self.services.between_supervisors()

    def has_work(self) -> bool:
        """Return whether somebody must run the actor."""
        pipeline = self.pipeline
        if pipeline is not None and pipeline.pending and pipeline.ready():
            return True
        return bool(self.mailbox) and not self.held_up()

    def pass_on(self) -> None:
        """Leave to the pools what there is to do after a turn: no append that has ended waits."""
        pipeline = self.pipeline
        if pipeline is not None and pipeline.pending and pipeline.ready():
            self.services.completions.put(self.complete)
        elif self.mailbox and not self.held_up():
            self.services.jobs.put(self.run)

    # Who does it.

    def handle_at_once(self, request: Request, turn: Turn) -> bool:
        """Handle a request that the calling thread waits for, if nothing is in its way.

        Args:
            request: not in the mailbox; it is handled like one that has just come there.
            turn: the calling thread's.

        Returns:
            Whether it was handled; if not, it is still to be posted.
        """
        services = self.services
        owners = services.owners
        handled = False
        try:
            if owners.setdefault(self, turn) is not turn:
                return False
            if self.is_free():
                turn.running = True
                turn.own = request
                request.home = self
                handled = request.begin()
                self.handle(request, turn)
                turn.running = False
            del owners[self]
            if self.mailbox or self.life.over:
                self.take_turn(turn, CALLER_BATCH)
            else:
                self.pass_on()
            if turn.answers:
                self.give_answers(turn)
        except BaseException:
            try:
                self.interrupted(turn)
            finally:  # without a call: at the recursion limit the repair may have failed as well
                if self in owners and owners[self] is turn:
                    self.sequence = -1
                    turn.running = False
                    del owners[self]
            raise
        return handled

    def settle(self, turn: Turn) -> None:
        """Take in the results of appends that have ended."""
        if self.pipeline is not None:
            self.pipeline.settle(turn)

    def wake(self) -> None:
        """Complete what is stored; anything else that is to be done is the pools'.

        Called by the committer, whose thread everybody waits for: no code of the user's runs here.
        """
        services, pipeline = self.services, self.pipeline
        assert pipeline is not None
        turn = services.turns.mine
        if turn.running:  # a domain that stops its kernel; what it runs it owns
            services.completions.put(self.complete)
            return
        owners = services.owners
        try:
            if owners.setdefault(self, turn) is not turn:
                return  # its owner will look
            turn.running = True
            pipeline.settle_stored(turn)
            turn.running = False
            del owners[self]
            if self.life.over:
                services.jobs.put(self.run)
            elif self.mailbox or pipeline.pending:
                self.pass_on()
            if turn.answers:
                turn.give_answers(services.completions.put)
        except Exception as error:  # noqa: BLE001 - one actor's, not the committer's
            self.interrupted(turn)
            log_safely("error", "completion_failed", actor=str(self), exc_info=error)
        except BaseException:
            self.interrupted(turn)
            raise

    def complete(self) -> None:
        """Take in what has ended, on a pool's thread, and leave the mailbox to another pool."""
        turn = self.services.turns.mine
        before, turn.ours = turn.ours, True
        try:
            self.take_turn(turn, 0)
        finally:
            turn.ours = before
