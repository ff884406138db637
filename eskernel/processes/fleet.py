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
from eskernel.remote.slot import Slot

NEWS: Final = object()
"""Tells the minder that there is news."""


class Place:
    """A slot, and the process in it.

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


class Fleet:
    """All places, spares and settings; outlives a minder that is restarted.

    Only the minder's thread changes places and spares; `all` also holds processes on their way,
    for the one who ends everything.

    Args:
        places: one for each worker.
        start: starts a process.
        setup: what each is told first.
        leases: from a place to the fields of the next kernel's `ShardLeases`, or to None.
        spares: how many to keep in reserve.
    """

    def __init__(
        self,
        places: list[Place],
        start: Callable[[], Child],
        setup: bytes,
        leases: Callable[[Place], dict[str, Any] | None],
        spares: int,
    ) -> None:
        self.places = places
        self.start = start
        self.setup = setup
        self.leases = leases
        self.wanted_spares = spares
        self.spares: list[Child] = []
        self.starting = 0  # processes on their way to become spares
        self.error: Exception | None = None  # the last failure to start one
        self.failed = 0  # how many in a row could not be started
        self.due = 0.0  # when the next may be started, on the monotonic clock
        self.stopping = False
        # What threads have found out; a minder takes it from here, so that nothing is lost when it
        # is restarted.
        self.news: deque[Callable[[], Any]] = deque()
        self.minder: ActorRef[Any] | None = None
        # Guards `all` and `stopping`: after `stopping` is set no process is started.
        self._lock = threading.Lock()
        self.all: set[Child] = set()
        # That start processes, receive from them or end them; each adds and removes itself.
        self._threads: set[threading.Thread] = set()

    def tell(self, news: Callable[[], Any]) -> None:
        """Have the minder do something."""
        self.news.append(news)
        tell_if_alive(self.minder, NEWS)

    def new_child(self) -> Child | None:
        """Start a process and have it prepared; None if there is to be none any more."""
        with self._lock:
            if self.stopping:
                return None
            child = self.start()
            self.all.add(child)
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
        self.all.discard(child)

    def end(self) -> list[Child]:
        """Start no more; return what is there."""
        with self._lock:
            self.stopping = True
            return list(self.all)

    def clear(self, timeout: float) -> None:
        """Let the last answers in, for so many seconds, and close all descriptors.

        After `end`, when the processes have ended and there is no minder any more.
        """
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        for child in list(self.all):
            self.forget(child)

    def in_thread(self, function: Callable[[], Any]) -> None:
        """Have a thread of its own do something that takes time."""
        thread = threading.Thread(
            target=self._run, args=(function,), name="eskernel-worker", daemon=True
        )
        self._threads.add(thread)
        thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            function()
        finally:
            self._threads.discard(threading.current_thread())
