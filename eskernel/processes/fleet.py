"""Fleet: the worker processes of a kernel, those that serve and those in reserve."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from pykka import ActorRef

from eskernel.actors.supervision.actor import tell_if_alive
from eskernel.processes.child import Child
from eskernel.remote.running import Member
from eskernel.remote.slot import Slot

NEWS: Final = object()
"""Tells the supervisor that there is news."""


class WorkerSlot:
    """The calls to one worker, and the process that is it just now.

    Attributes:
        name: for logs and trees.
        slot: the calls.
        child: the process that serves; None while there is none.
        restarts: how many processes were put in after the first.
        failed: how many in a row have ended early.
        since: when the present one began to serve, on the monotonic clock.
        due: when the next may be put in; None while one serves, or is on its way.
        owner: under which it holds leases, or the last one did; None without leases.
    """

    def __init__(self, name: str, slot: Slot) -> None:
        self.name = name
        self.slot = slot
        self.child: Child | None = None
        self.restarts = -1
        self.failed = 0
        self.since = 0.0
        self.due: float | None = 0.0
        self.owner: str | None = None

    def member(self) -> Member:
        """Return what the tree shows of it."""
        child = self.child
        where = f"process {child.pid}" if child else "waits for its restart"
        return Member(self.name, where, self.slot, child is not None, max(self.restarts, 0))


class Fleet:
    """All workers, spares and settings; outlives a supervisor that is restarted.

    Only the supervisor's thread changes slots and spares; `children` also holds processes on their
    way, for the one who ends everything.

    Args:
        slots: one for each worker.
        start: starts a process.
        setup: what each is told first.
        leases: from a slot to the fields of the next kernel's `ShardLeases`, or to None.
        spares: how many to keep in reserve.
    """

    def __init__(
        self,
        slots: list[WorkerSlot],
        start: Callable[[], Child],
        setup: bytes,
        leases: Callable[[WorkerSlot], dict[str, Any] | None],
        spares: int,
    ) -> None:
        self.slots = slots
        self.start = start
        self.setup = setup
        self.leases = leases
        self.wanted_spares = spares
        self.spares: list[Child] = []
        self.starting = 0  # processes on their way to become spares
        self.error: Exception | None = None  # the last failure to start one
        self.failed = 0  # how many in a row could not be started
        self.due = 0.0  # when the next may be started, on the monotonic clock
        self.started = False  # whether all slots were filled once
        self.stopping = False
        # What threads have found out; a supervisor takes it from here, so that nothing is lost when
        # it is restarted.
        self.news: deque[Callable[[], Any]] = deque()
        self.supervisor: ActorRef[Any] | None = None
        # Held while a process is started, and while `stopping` is set: after that none is started,
        # and all that were are in `children`. Each leaves it in one step.
        self._lock = threading.Lock()
        self.children: set[Child] = set()
        # That start processes, receive from them or end them; entered before it runs, each removes
        # itself in one step.
        self._threads: set[threading.Thread] = set()

    def tell(self, news: Callable[[], Any]) -> None:
        """Have the supervisor do something."""
        self.news.append(news)
        tell_if_alive(self.supervisor, NEWS)

    def new_child(self) -> Child | None:
        """Start a process and have it prepared; None if there is to be none any more."""
        with self._lock:
            if self.stopping:
                return None
            child = self.start()
            self.children.add(child)
        try:
            child.prepare(self.setup)
        except BaseException:
            self.forget(child)
            raise
        return child

    def forget(self, child: Child) -> None:
        """End a process and close the way to it."""
        child.channel.close()
        child.end()
        child.channel.dispose()
        self.children.discard(child)

    def end(self) -> list[Child]:
        """Start no more; return what is there."""
        with self._lock:
            self.stopping = True
            return list(self.children)

    def clear(self, timeout: float) -> None:
        """Let the last answers in, for so many seconds, and close all descriptors.

        After `end`, when the processes have ended and there is no supervisor any more.
        """
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        for child in list(self.children):
            self.forget(child)

    def in_thread(self, function: Callable[[], Any]) -> None:
        """Have a thread of its own do something that takes time."""
        thread = threading.Thread(
            target=self._run, args=(function,), name="eskernel-worker", daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # too many threads, for now
            self._threads.discard(thread)
            raise

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            function()
        finally:
            self._threads.discard(threading.current_thread())
