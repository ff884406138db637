"""Services: what all aggregate actors of one running kernel share.

A little longer than most modules: routes change under one lock in all the ways that are here.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pykka import ActorRef

from eskernel.actors.aggregate.deciding import decider
from eskernel.actors.aggregate.limits import Limits
from eskernel.actors.aggregate.routing import Aggregate, AggregateEnded, Eviction, Routed, Starter
from eskernel.actors.aggregate.turns import Turn, Turns
from eskernel.actors.bell import Bell
from eskernel.actors.pool import JobQueue
from eskernel.actors.supervision.actor import tell_if_alive
from eskernel.errors import DispatchTimeout, KernelStopped, UnknownAggregateType
from eskernel.values import StreamId, check_identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.requests import Request
    from eskernel.actors.committer import CommitQueue
    from eskernel.actors.owning.shards import Shards
    from eskernel.contracts import Clock, EventStore, SnapshotStore

_START_PATIENCE = 5.0
_LOOK_AGAIN = 0.001
_STRIPES = 64
MIDDLEWARE = "middleware"


class Services:
    """The store, the clock, the machinery and the routing table of one running kernel.

    Attributes:
        owners: see `eskernel.actors.aggregate.turns`.
        routes: the routing table, read without a lock; changed only under the stripe lock of the
            stream. The AggregateManager owns it; it is kept here to survive a manager's restart.
        jobs: work for the threads that run actors; none of it waits.
        outer_jobs: code of the user's that may itself wait for the kernel, so never to be run by
            the threads it could wait for: chains of middleware, callbacks of futures.
        shards: whose the aggregates are; None if all are this kernel's.
        completions: answers to give and appends that have ended, which must not wait for commands
            of other aggregates; `jobs` itself if no append ends later.
        bell: rung after each commit.
        refusal: why the kernel takes no commands; None while it does.
        gate: None while dispatch may take its shortest way; the refusal, or `MIDDLEWARE`.
        supervisor: the running AggregateSupervisor, None while there is none.
        manager: reference to the last AggregateManager started.
        eviction: makes room for new aggregates; None when they are not limited.
    """

    def __init__(
        self,
        domains: Mapping[str, BoundDomain],
        store: EventStore,
        snapshots: SnapshotStore | None,
        clock: Clock,
        limits: Limits,
        jobs: JobQueue,
        outer_jobs: JobQueue,
        commits: CommitQueue | None,
        *,
        shards: Shards | None = None,
        with_middleware: bool = False,
    ) -> None:
        self.domains = domains
        self.deciders = {name: decider(domain, clock.time) for name, domain in domains.items()}
        self.store = store
        self.append: Callable[..., int] = store.append  # of events, or rows if it is immediate
        self.bell = Bell(self._ring_or_not)
        self.snapshots = snapshots
        self.clock = clock
        self.now = clock.time
        self.monotonic = clock.monotonic
        self.limits = limits
        self.snapshot_interval = limits.snapshot_interval if snapshots is not None else 0
        self.receipts_kept = limits.receipts_kept
        self.jobs = jobs
        self.outer_jobs = outer_jobs
        self.completions = jobs if commits is None else JobQueue()
        self.commits = commits
        self.shards = shards
        self.owners: dict[Any, Turn] = {}
        self.turns = Turns()
        self.routes: dict[StreamId, Aggregate] = {}
        self.refusal: str | None = None
        self.gate: str | None = MIDDLEWARE if with_middleware else None
        self.manager: ActorRef[Any] | None = None
        self.next_append_id = itertools.count(secrets.randbits(96) << 32).__next__
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        # Guards `supervisor`. A bare lock, and those who wait look again and again: an exception
        # that interrupts a Condition's methods would leave it locked for ever.
        self._supervision = threading.Lock()
        self.supervisor: Starter | None = None
        self.eviction: Eviction | None = None
        self._stranded: deque[Routed] = deque()

    def _ring_or_not(self) -> None:
        """Have appends ring as long as somebody listens; without, they cost nothing more."""
        self.append = self._append_and_ring if self.bell.listeners else self.store.append

    def _append_and_ring(self, *arguments: Any, **options: Any) -> int:
        position = self.store.append(*arguments, **options)
        self.bell.ring()
        return position

    def route(self, stream_id: StreamId, patience: float) -> Aggregate:
        """Return the stream's actor, started if there is none.

        Args:
            stream_id: the stream.
            patience: seconds to wait for an AggregateSupervisor that is being restarted.

        Raises:
            UnknownAggregateType, InvalidCommand: the stream id is none.
            DispatchTimeout: there is no supervisor in time.
            KernelStopped: the kernel takes no commands.
        """
        aggregate_type, aggregate_id = stream_id
        if not isinstance(aggregate_type, str) or aggregate_type not in self.domains:
            raise UnknownAggregateType(aggregate_type, tuple(self.domains))
        check_identifier("aggregate_id", aggregate_id)
        supervisor = self._present_supervisor(patience)
        if supervisor is None:
            raise DispatchTimeout.because(
                f"no supervisor to start {stream_id} within {patience} s", started=False
            )
        actor = supervisor.start_aggregate(stream_id)
        if self.eviction is not None:
            self.eviction.make_room(actor)
        return actor

    def stripe(self, stream_id: StreamId) -> threading.Lock:
        """Return the lock under which the stream's route changes."""
        return self._stripes[hash(stream_id) % _STRIPES]

    def routes_to(self, actor: Routed) -> bool:
        """Return whether the actor is the one its stream's commands go to."""
        return self.routes.get(actor.stream_id) is actor

    def unroute(self, actor: Routed) -> None:
        """Remove the actor's route, if it is still the stream's."""
        with self.stripe(actor.stream_id):
            self._unroute(actor)

    def _unroute(self, actor: Routed) -> None:
        if self.routes_to(actor):
            del self.routes[actor.stream_id]

    def succeed(self, actor: Routed, leave: Callable[[], Sequence[Request]]) -> bool:
        """Take a dead actor from the routing table and pass its requests to a successor.

        The route goes first. From then on newcomers wait for the stripe lock, and whoever still
        puts something into the old mailbox moves it himself before he sends again. So no later
        request of a sender gets ahead of an earlier one.

        Args:
            actor: the dead one; the caller owns it.
            leave: returns, under the lock, the requests to pass on.

        Returns:
            False when there is no supervisor that could start a successor: try again.
        """
        stream_id = actor.stream_id
        with self.stripe(stream_id):
            supervisor = self.supervisor
            if supervisor is None and self.refusal is None:
                return False
            self._unroute(actor)
            requests = leave()
            successor, heir = self.routes.get(stream_id), actor.heir
            if heir is not None and successor is not None:  # a newcomer came first
                requests = [*(one for one in heir.mailbox if one.home is heir), *requests]
            elif not requests and heir is None:
                return True
            successor = successor or heir
            if successor is None:
                assert supervisor is not None, "a kernel that has stopped passes nothing on"
                # Remembered, so that after an interruption those who are in it are not lost.
                successor = actor.heir = supervisor.create(stream_id)
            mailbox = successor.open_mailbox()
            for request in requests:
                # No call between these two: nothing can interrupt there.
                request.home = successor
                mailbox += (request,)
            self.routes[stream_id] = successor
            actor.heir = None
        self.jobs.put(successor.run)
        return True

    def strand(self, actor: Routed) -> None:
        """Have a dead actor run when there is a supervisor that can start its successor."""
        self._stranded.append(actor)
        if not self.between_supervisors():
            self.jobs.put(actor.run)

    def run_waiting(self) -> None:
        """Have every actor with waiting requests run: to pass them on, or to refuse them."""
        waiting: list[Routed] = [one for one in list(self.routes.values()) if one.has_work()]
        with suppress(IndexError):
            while True:
                waiting.append(self._stranded.popleft())
        for actor in waiting:
            self.jobs.put(actor.run)

    def between_supervisors(self) -> bool:
        """Return whether aggregates must wait for the AggregateSupervisor to come back."""
        return self.supervisor is None and self.refusal is None

    def announce_end(self, actor: Routed, reason: BaseException | None) -> None:
        """Send the actor's one stop event to its supervisor and to the manager."""
        event = AggregateEnded(actor, reason)
        supervisor = self.supervisor
        if supervisor is not None:
            tell_if_alive(supervisor.actor_ref, event)
        tell_if_alive(self.manager, event)

    def supervise(
        self,
        supervisor: Starter | None,
        *,
        instead_of: Starter | None = None,
    ) -> None:
        """Install the running AggregateSupervisor, or None when `instead_of` ends."""
        with self._supervision:
            if instead_of is None or self.supervisor is instead_of:
                self.supervisor = supervisor

    def wait_for_supervisor(self) -> None:
        """Return when aggregates can be started.

        Raises:
            KernelStopped: they cannot, within some seconds.
        """
        if self._present_supervisor(_START_PATIENCE) is None:
            raise KernelStopped("its AggregateSupervisor does not come up")

    def refuse(self, reason: str) -> None:
        """Take no more commands; those who wait for a supervisor get KernelStopped."""
        self.refusal = self.gate = reason

    def _present_supervisor(self, patience: float) -> Starter | None:
        deadline = time.monotonic() + patience
        while (supervisor := self.supervisor) is None and self.refusal is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(_LOOK_AGAIN)
        if self.refusal is not None:
            raise KernelStopped(self.refusal)
        return supervisor
