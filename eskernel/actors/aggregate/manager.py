"""AggregateManager: the singleton that owns the routing table."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from eskernel.actors.aggregate.routing import AggregateEnded
from eskernel.actors.aggregate.services import Services
from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import SupervisedActor
from eskernel.values import Accepted, Command


class AggregateManager(SupervisedActor):
    """Routes commands sent to it, and hears every aggregate's stop event.

    Dispatching threads read the routing table without asking, and an aggregate that ends gives its
    route up itself; that keeps this actor off the hot path. Its own part is to see that the table
    is true: after a restart it looks through the whole of it, and a stop event whose route is still
    there, which no known way leads to, costs the route.

    Args:
        services: what the aggregates share, the table among it.
        submit: routes a command and returns its future.
    """

    def __init__(self, services: Services, submit: Callable[[Command], Future[Accepted]]) -> None:
        super().__init__()
        self._services = services
        self._submit = submit
        self._ended = self._crashed = 0

    def on_start(self) -> None:
        """Announce itself, and have ended actors leave the table."""
        self._services.manager = self.actor_ref
        for actor in list(self._services.routes.values()):
            if actor.life.over:
                self._services.jobs.put(actor.run)

    def on_receive(self, message: Any) -> Any:
        """Take a Command, whose future is the reply, or a stop event."""
        if isinstance(message, Command):
            return self._submit(message)
        if isinstance(message, AggregateEnded):
            return self._on_ended(message)
        return super().on_receive(message)

    def _on_ended(self, event: AggregateEnded) -> None:
        self._services.unroute(event.actor)
        self._ended += 1
        if event.reason is not None:
            self._crashed += 1
            cause = event.reason.__cause__ or event.reason
            stream_id, where = event.actor.stream_id, _where(cause)
            log_and_go_on(
                "warning", "aggregate_crashed", stream_id=stream_id, cause=cause, where=where
            )

    def counts(self) -> tuple[int, int]:
        """Return how many aggregates have ended since this manager started, and crashed of them."""
        return self._ended, self._crashed


def _where(error: BaseException) -> str | None:
    """Return file, line and function; a whole traceback for each crash would be slow to render."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[0].filename}:{frames[0].lineno} in {frames[0].name}" if frames else None
