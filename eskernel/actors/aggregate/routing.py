"""Routing: aggregate actors as those see them who route to them, start them or hear of their end.

These protocols let the shared services stand below the actors that use them.
"""

# ruff: noqa: D102 - the actors document their methods

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pykka import ActorRef

from eskernel.errors import EskernelError
from eskernel.values import Accepted, Command, StreamId

if TYPE_CHECKING:
    from eskernel.actors.aggregate.bound_domain import BoundDomain
    from eskernel.actors.aggregate.life import Life
    from eskernel.actors.aggregate.requests import Request
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.actors.pool import JobQueue


class Routed(Protocol):
    """What the routing table needs of an actor; see `caller_run`."""

    stream_id: StreamId
    life: Life
    mailbox: deque[Request]
    last_used: float
    heir: Aggregate | None

    @property
    def actor_ref(self) -> ActorRef[Any]: ...
    def open_mailbox(self) -> deque[Request]: ...
    def post(
        self,
        request: Request,
        turn: Turn | None = None,
        *,
        limited: bool = True,
        run_later: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None: ...
    def run(self) -> None: ...
    def take_turn(self, turn: Turn, limit: int, *, idle_since: float | None = None) -> bool: ...
    def interrupted(self, turn: Turn) -> None: ...
    def waiting(self) -> int: ...
    def has_work(self) -> bool: ...


class Surroundings(Protocol):
    """What an actor that is repaired or retired needs of the kernel's services."""

    owners: dict[Any, Turn]
    jobs: JobQueue
    refusal: str | None

    def succeed(self, actor: Routed, leave: Callable[[], Sequence[Request]]) -> bool: ...
    def strand(self, actor: Routed) -> None: ...
    def announce_end(self, actor: Routed, reason: BaseException | None) -> None: ...


class Owned(Routed, Protocol):
    """What repairing and retiring an actor need of it; see `caller_run`."""

    announced: bool
    tried: int

    @property
    def services(self) -> Surroundings: ...

    def forget(self) -> None: ...
    def is_pending(self, request: Request) -> bool: ...
    def answer(self, turn: Turn, request: Request, outcome: Any) -> None: ...
    def give_answers(self, turn: Turn) -> None: ...


class Aggregate(Routed, Protocol):
    """What those need who have commands for it; see `stream_actor` and `actor`."""

    domain: BoundDomain
    receipts: dict[str, tuple[int, int]] | None

    def handle_at_once(self, request: Request, turn: Turn) -> bool: ...
    def execute(self, command: Command) -> Accepted | EskernelError: ...
    def recall(self, first: int, last: int) -> Accepted | EskernelError: ...


class Starter(Protocol):
    """The AggregateSupervisor, as those see it who need an aggregate."""

    @property
    def actor_ref(self) -> ActorRef[Any]: ...
    def start_aggregate(self, stream_id: StreamId) -> Aggregate: ...
    def create(self, stream_id: StreamId) -> Aggregate: ...
    def end_aggregates(self, reason: BaseException | None) -> None: ...


class Eviction(Protocol):
    """What keeps the number of live aggregates down."""

    def make_room(self, newest: Aggregate | None = None) -> None: ...


class AggregateEnded(NamedTuple):
    """An aggregate actor's one stop event, for its supervisor and for the manager.

    Attributes:
        actor: the actor.
        reason: None when it was asked to stop or passivated, else what killed it.
    """

    actor: Routed
    reason: BaseException | None
