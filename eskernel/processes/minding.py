"""Minding: keeps a worker process in every slot, and one or two in reserve.

A Python interpreter takes some tenths of a second to start, longer on a busy machine. So a spare
process waits with everything imported, and takes a dead one's place within milliseconds.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pykka import ActorRef

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import Backoff, SupervisedActor
from eskernel.actors.supervision.actor import tell_if_alive
from eskernel.processes.child import Child
from eskernel.remote.slot import Slot

_BACKOFF: Final = Backoff(first=0.05, longest=5.0)
_STABLE: Final = 10.0
"""Seconds a process must have served for its end to count as the first."""
_TICK: Final = 0.1  # seconds between two looks at calls that wait for a process
_LAST_WORDS: Final = 1.0
"""Seconds that a process may take to exit once it has closed its socket."""
_NEWS: Final = object()


class Place:
    """A slot, and the process in it.

    Attributes:
        name: for logs and trees.
        slot: the calls.
        child: the process that serves; None while there is none.
        restarts: how many processes were put in after the first.
        failed: how many in a row have ended early, or could not be started.
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
        self.stopping = False
        # What threads have found out; a minder takes it from here, so that nothing is lost when it
        # is restarted.
        self.news: deque[Callable[[], Any]] = deque()
        self.minder: ActorRef[Any] | None = None
        # Guards `all` and `stopping`: after `stopping` is set no process is started.
        self._lock = threading.Lock()
        self.all: set[Child] = set()

    def tell(self, news: Callable[[], Any]) -> None:
        """Have the minder do something."""
        self.news.append(news)
        tell_if_alive(self.minder, _NEWS)

    def new_child(self) -> Child | None:
        """Start a process and have it import everything; None if there is to be none any more."""
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


class Minder(SupervisedActor):
    """The supervisor of worker processes, each in a place of the routing table.

    Starting takes time, and so does waiting for an end: threads do that, and tell the minder.

    Args:
        fleet: what it minds.
    """

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self._fleet = fleet
        self._rng = random.Random()  # noqa: S311 - jitter

    def on_start(self) -> None:
        """Announce itself, and look what is missing."""
        self._fleet.minder = self.actor_ref
        self.on_wake()

    def on_wake(self) -> None:
        """Fill places, keep spares, and answer calls that have waited for too long."""
        fleet = self._fleet
        while fleet.news:
            fleet.news.popleft()()
        fleet.spares = [child for child in fleet.spares if self._is_alive(child)]
        for place in fleet.places:
            if place.child is None:
                place.slot.expire()
                self._fill(place)
            elif not place.child.is_alive():
                place.child.channel.close()  # a fork of its may have a copy of the socket
        missing = sum(place.due is not None for place in fleet.places) + fleet.wanted_spares
        while len(fleet.spares) + fleet.starting < missing and not fleet.stopping:
            fleet.starting += 1
            self._in_thread(self._start_one)
        self.wake_at = time.monotonic() + _TICK

    def on_receive(self, message: Any) -> Any:
        """Look at once: there is news."""
        return self.on_wake() if message is _NEWS else super().on_receive(message)

    def _is_alive(self, child: Child) -> bool:
        if child.is_alive():
            return True
        self._in_thread(partial(self._fleet.forget, child))
        return False

    def _fill(self, place: Place) -> None:
        """Put a spare into a place, if both are ready."""
        if place.due is not None and place.due <= time.monotonic() and self._fleet.spares:
            place.due = None
            self._in_thread(partial(self._serve, place, self._fleet.spares.pop()))

    # On threads of their own.

    def _start_one(self) -> None:
        try:
            child = self._fleet.new_child()
        except Exception as error:  # noqa: BLE001 - whatever a module raises when it is imported
            self._fleet.tell(partial(self._on_not_started, error))
        else:
            if child is not None:
                self._fleet.tell(partial(self._on_spare, child))

    def _serve(self, place: Place, child: Child) -> None:
        """Have a process serve a place, until it ends."""
        leases = self._fleet.leases(place)
        try:
            child.serve(leases)
        except Exception as error:  # noqa: BLE001 - whatever opening a store raises
            self._fleet.forget(child)
            self._fleet.tell(partial(self._on_not_serving, place, error))
            return
        self._fleet.tell(partial(self._on_serving, place, child, leases))
        try:
            self._listen(place, child)
        except (EOFError, OSError):
            child.channel.close()
        except Exception as error:  # noqa: BLE001 - it does not speak as it should
            log_and_go_on("error", "worker_not_understood", worker=place.name, exc_info=error)
            child.channel.close()
        child.heard.set()
        child.end(_LAST_WORDS)
        child.channel.dispose()
        self._fleet.tell(partial(self._on_ended, place, child))

    def _listen(self, place: Place, child: Child) -> None:
        """Take what a process says; raises EOFError or OSError at its end."""
        while True:
            if place.slot.hear(child.channel.receive()):
                place.slot.pause(f"worker process {child.pid} was told to end")
                self._in_thread(child.channel.finish)

    def _in_thread(self, function: Callable[[], Any]) -> None:
        threading.Thread(target=function, name="eskernel-worker", daemon=True).start()

    # What they have found out.

    def _on_spare(self, child: Child) -> None:
        self._fleet.starting -= 1
        self._fleet.spares.append(child)

    def _on_not_started(self, error: Exception) -> None:
        fleet = self._fleet
        fleet.starting -= 1
        fleet.error = error
        log_and_go_on("error", "worker_not_started", reason=error)
        for place in fleet.places:
            if place.due is not None:
                self._postpone(place, f"its worker process cannot be started: {error}")

    def _on_not_serving(self, place: Place, error: Exception) -> None:
        self._fleet.error = error
        log_and_go_on("error", "worker_not_serving", worker=place.name, reason=error)
        self._postpone(place, f"its worker process cannot serve: {error}")

    def _on_serving(self, place: Place, child: Child, leases: dict[str, Any] | None) -> None:
        place.child = child
        place.owner = None if leases is None else leases["owner"]
        place.since = time.monotonic()
        place.restarts += 1
        place.slot.serve(child.channel)

    def _on_ended(self, place: Place, child: Child) -> None:
        place.child = None
        self._fleet.all.discard(child)
        place.slot.lose(child.ended())
        if self._fleet.stopping:
            return
        log_and_go_on("error", "worker_ended", worker=place.name, reason=child.ended())
        if time.monotonic() - place.since > _STABLE:
            place.failed = 0
        place.failed += 1
        place.due = 0.0 if place.failed == 1 else self._later(place)

    def _postpone(self, place: Place, why: str) -> None:
        place.failed += 1
        place.slot.down = why
        place.due = self._later(place)

    def _later(self, place: Place) -> float:
        return time.monotonic() + _BACKOFF.delay(place.failed, self._rng)
