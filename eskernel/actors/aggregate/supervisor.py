"""AggregateSupervisor: starts and owns the aggregate actors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from eskernel.actors.aggregate.actor import AggregateActor
from eskernel.actors.aggregate.life import Life
from eskernel.actors.aggregate.routing import Aggregate, AggregateEnded, Routed
from eskernel.actors.aggregate.services import Services
from eskernel.actors.supervision import Supervisor

if TYPE_CHECKING:
    from eskernel.values import StreamId

_LAST_COMMANDS = 4.0
"""Seconds a stopping supervisor waits for the commands its aggregates are running."""


class AggregateSupervisor(Supervisor):
    """The supervisor of all aggregate actors: temporary children without threads.

    Starting one needs no message: the thread that wants it calls `start_aggregate`. All children
    share one `Life`, so the end of this actor is theirs, however many they are.

    Args:
        services: what the aggregates share.
    """

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._life = Life()
        # Added to by any thread, discarded from by this actor's; each is one step for the
        # interpreter. The routing table, not this set, decides who handles commands.
        self._aggregates: set[Routed] = set()

    def on_start(self) -> None:
        """Be the supervisor, and see to what waits for one."""
        super().on_start()
        self._services.supervise(self)
        self._services.run_waiting()

    def on_receive(self, message: Any) -> Any:
        """Take the stop events of aggregates."""
        if isinstance(message, AggregateEnded):
            self._aggregates.discard(message.actor)
            return None
        return super().on_receive(message)

    def on_stop(self) -> None:
        """End all aggregates; each finishes the command it is running."""
        self.end_aggregates(None)
        super().on_stop()

    def on_failure(self, *exc_info: Any) -> None:
        """End all aggregates as well."""
        self.end_aggregates(exc_info[1])
        super().on_stop()

    def start_aggregate(self, stream_id: StreamId) -> Aggregate:
        """Return the stream's actor, started if there is none; any thread may call this.

        Starting does not rehydrate: the first command does.
        """
        with self._services.stripe(stream_id):
            actor = self._services.routes.get(stream_id)
            if actor is None:
                actor = self.create(stream_id)
                self._services.routes[stream_id] = actor
            return actor

    def create(self, stream_id: StreamId) -> AggregateActor:
        """Return a new child; the caller holds the stream's lock and publishes the route."""
        services = self._services
        domain = services.domains[stream_id[0]]
        actor = AggregateActor(stream_id, domain, services, self._life)
        self._aggregates.add(actor)
        return actor

    def count_aggregates(self) -> int:
        """Return how many children are alive."""
        return len(self._aggregates)

    def end_aggregates(self, reason: BaseException | None) -> None:
        """End all children at once; when the kernel stops, wait for what they are running."""
        services = self._services
        services.supervise(None, instead_of=self)
        self._life.reason = reason
        self._life.over = True
        if services.refusal is not None:  # the kernel stops: nobody will succeed them
            self._services.run_waiting()
            deadline = time.monotonic() + _LAST_COMMANDS
            while services.owners and time.monotonic() < deadline:
                time.sleep(0.001)
