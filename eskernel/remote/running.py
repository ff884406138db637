"""Running: what a front has while it is started."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from pykka import ActorRef

from eskernel.actors.pool import ActorPool, JobQueue
from eskernel.actors.supervision import ChildSpec, Supervisor, stop_and_wait
from eskernel.actors.tree import Node, children_of
from eskernel.remote.router import Router
from eskernel.remote.slot import Slot

LOOK_AGAIN: Final = 0.005  # seconds
_CALLBACK_THREADS: Final = 4
_ROOT_ENDS_WITHIN: Final = 1.0  # seconds


class Member(NamedTuple):
    """One of the kernels in other processes, for the tree.

    Attributes:
        name: unique.
        where: which process, in words.
        slot: the way to it.
        alive: whether it serves.
        restarts: how often it was replaced.
    """

    name: str
    where: str
    slot: Slot
    alive: bool
    restarts: int


class Running(ABC):
    """The slots of all kernels, and a supervised pool for the callbacks of futures.

    Attributes:
        router: from commands to shards.
        slots: one for each kernel.
        callbacks: what the pool is to call.

    Args:
        router: from commands to shards.
        slots: one for each kernel.
    """

    supervisor: ClassVar[type[Supervisor]]
    """The root; its name is in the tree."""

    def __init__(self, router: Router, slots: Sequence[Slot]) -> None:
        self.router = router
        self.slots = slots
        self.callbacks = JobQueue()
        self.over = threading.Event()  # set when everything is to end
        self._root: ActorRef[Any] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start everything, and wait until all kernels serve; whatever it raises, undo it."""

    @abstractmethod
    def stop(self, timeout: float) -> bool:
        """End everything; return whether what was under way ended within so many seconds."""

    @abstractmethod
    def slot_of(self, shard: int) -> Slot:
        """Return the slot of the kernel that serves a shard."""

    @abstractmethod
    def members(self) -> list[Member]:
        """Return the kernels, in the order of `slots`."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of everything in a forked child: it is the parent's."""

    def start_root(self, *specs: ChildSpec) -> None:
        """Start the root with the pool, and these after it."""
        lingers = self.over.is_set
        pool = partial(ActorPool.start, self.callbacks, _CALLBACK_THREADS, lingers, "callbacks")
        self._root = self.supervisor.start([ChildSpec("callback-pool", pool), *specs])

    def stop_root(self) -> None:
        """Stop the root and what is below it."""
        if self._root is not None:
            stop_and_wait(self._root, _ROOT_ENDS_WITHIN)

    def node(self, below: Sequence[Node]) -> Node:
        """Return the root of the tree, with these below it."""
        root, name = self._root, self.supervisor.__name__
        if root is None or not root.is_alive():
            return Node("kernel", name, root, alive=False, children=tuple(below))
        return Node("kernel", name, root, alive=True, children=(*children_of(root), *below))
