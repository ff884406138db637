"""The supervision tree: what runs under what, and a picture of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pykka
from pykka import ActorRef
from pykka.messages import ProxyCall

from eskernel.actors.aggregate.manager import AggregateManager
from eskernel.actors.aggregate.passivation import Passivator
from eskernel.actors.aggregate.services import Services
from eskernel.actors.aggregate.supervisor import AggregateSupervisor
from eskernel.actors.committer import Committer
from eskernel.actors.consuming.registry import Registry
from eskernel.actors.consuming.supervisor import ProjectionSupervisor
from eskernel.actors.owning.keeper import ShardKeeper
from eskernel.actors.pool import ActorPool
from eskernel.actors.supervision import Backoff, ChildInfo, ChildSpec, Inbox, Supervisor, ask
from eskernel.values import Command

POOL_SIZE = 8
COMPLETERS = 2
"""Threads that only give answers; more would only get in each other's way."""
INTENSITY, PERIOD = 20, 10.0
BACKOFF = Backoff(first=0.005, longest=0.25)
_ANSWER_WITHIN = 1.0
_GIVE_BACK_WITHIN = 2.0
"""Seconds a stopping kernel waits for its leases to be given back; then they run out."""


class KernelSupervisor(Supervisor):
    """The root. Children in start order; they stop in reverse.

    Args:
        services: what the aggregates share.
        submit: how the manager routes a command.
        registry: what follows the log.
    """

    def __init__(
        self, services: Services, submit: Callable[[Command], Any], registry: Registry
    ) -> None:
        stopping = lambda: services.refusal is not None  # noqa: E731
        specs = [
            ChildSpec(name, partial(ActorPool.start, jobs, POOL_SIZE, stopping, name))
            for name, jobs in (("actor-pool", services.jobs), ("outer-pool", services.outer_jobs))
        ]
        commits, shards = services.commits, services.shards
        if shards is not None:
            # Before the committer, and so to end after it: leases are given back when all that
            # was decided under them is stored.
            keep = partial(ShardKeeper.start, services, shards)
            specs.append(ChildSpec("shard-keeper", keep, shutdown=_GIVE_BACK_WITHIN))
        if commits is not None:
            start = partial(
                ActorPool.start, services.completions, COMPLETERS, stopping, "completion-pool"
            )
            specs.append(ChildSpec("completion-pool", start))
            specs.append(
                ChildSpec(
                    "committer",
                    lambda: Committer.start(commits, services.store, services.bell, shards),
                )
            )
        specs += [
            ChildSpec("aggregate-supervisor", lambda: AggregateSupervisor.start(services)),
            ChildSpec("aggregate-manager", lambda: AggregateManager.start(services, submit)),
            ChildSpec("timer", lambda: Passivator.start(services)),
            ChildSpec("projection-supervisor", lambda: ProjectionSupervisor.start(registry)),
        ]
        super().__init__(specs, intensity=INTENSITY, period=PERIOD, backoff=BACKOFF)


@dataclass(frozen=True, slots=True, repr=False)
class Node:
    """One actor of the tree.

    `str(node)`, and so the interactive prompt, draws it with everything below.

    Attributes:
        name: unique among its siblings.
        actor: the name of its class; empty for a line that stands for several.
        ref: Pykka's reference; None while it waits for its restart, or for an aggregate.
        alive: whether it runs.
        queued: messages waiting for it.
        restarts: how often its supervisor has restarted it.
        children: what runs under it.
    """

    name: str
    actor: str
    ref: ActorRef[Any] | None
    alive: bool
    queued: int = 0
    restarts: int = 0
    children: tuple[Node, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def find(self, name: str) -> Node:
        """Return the node of that name here or below.

        Raises:
            KeyError: there is none.
        """
        for node in self.walk():
            if node.name == name:
                return node
        raise KeyError(name)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def _lines(self) -> list[str]:
        notes = [] if self.alive else ["down"]
        notes += [f"{self.queued} queued"] if self.queued else []
        plural = "" if self.restarts == 1 else "s"
        notes += [f"{self.restarts} restart{plural}"] if self.restarts else []
        what = f" ({self.actor})" if self.actor else ""
        lines = [self.name + what + (f"  {', '.join(notes)}" if notes else "")]
        for child in self.children:
            last = child is self.children[-1]
            first, *rest = child._lines()  # noqa: SLF001 - its own class
            lines.append(("└── " if last else "├── ") + first)
            lines += [("    " if last else "│   ") + line for line in rest]
        return lines


def draw(root: ActorRef[Any] | None, services: Services, limit: int) -> Node:
    """Return the tree under a root, with at most `limit` aggregates."""
    if root is None or not root.is_alive():
        return Node("kernel", "KernelSupervisor", root, alive=False)
    children = tuple(_node(info, _below(info, services, limit)) for info in _children(root))
    return Node("kernel", root.actor_class.__name__, root, True, _queued(root), 0, children)


def _node(info: ChildInfo, children: tuple[Node, ...] = ()) -> Node:
    return Node(
        info.name,
        info.ref.actor_class.__name__ if info.ref else "waits for its restart",
        info.ref,
        info.ref is not None and info.ref.is_alive(),
        _queued(info.ref),
        info.restarts,
        children,
    )


def _below(info: ChildInfo, services: Services, limit: int) -> tuple[Node, ...]:
    """Return what runs under a child of the root."""
    if info.name == "aggregate-supervisor":
        return _aggregates(services, limit)
    if info.name == "shard-keeper" and services.shards is not None:
        held = f"{len(services.shards.held())} of {len(services.shards)} shards"
        return (Node(held, "", None, alive=True),)
    if info.name == "projection-supervisor" and info.ref is not None:
        return children_of(info.ref)
    return ()


def children_of(supervisor: ActorRef[Any]) -> tuple[Node, ...]:
    """Return the children of a supervisor, without what runs under them; none if it is silent."""
    return tuple(_node(child) for child in _children(supervisor))


def _queued(ref: ActorRef[Any] | None) -> int:
    return ref.actor_inbox.qsize() if ref and isinstance(ref.actor_inbox, Inbox) else 0


def _children(root: ActorRef[Any]) -> list[ChildInfo]:
    call = ProxyCall(attr_path=("children",), args=(), kwargs={})
    try:
        return list(ask(root, call, _ANSWER_WITHIN))
    except (pykka.ActorDeadError, pykka.Timeout):
        return []


def _aggregates(services: Services, limit: int) -> tuple[Node, ...]:
    live = [actor for actor in list(services.routes.values()) if not actor.life.over]
    nodes = [
        Node("/".join(actor.stream_id), "AggregateActor", actor.actor_ref, True, actor.waiting())
        for actor in live[:limit]
    ]
    if len(live) > limit:
        nodes.append(Node(f"and {len(live) - limit} more", "", None, alive=True))
    return tuple(nodes)
