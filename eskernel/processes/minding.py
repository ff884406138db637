"""Minding: keeps a worker process in every slot, and one or two in reserve.

A Python interpreter takes some tenths of a second to start, longer on a busy machine. So a spare
process waits with everything imported and its stores open, and takes a dead one's place within
milliseconds.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any, Final

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import Backoff, SupervisedActor
from eskernel.processes.child import Child
from eskernel.processes.fleet import NEWS, Fleet, Place

_BACKOFF: Final = Backoff(first=0.05, longest=5.0)
_STABLE: Final = 1.0
"""Seconds a process must have served for its end to count as the first."""
_TICK: Final = 0.1  # seconds between two looks at calls that wait for a process
_LAST_WORDS: Final = 1.0
"""Seconds that a process may take to exit once it has closed its socket."""


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
        while len(fleet.spares) + fleet.starting < missing and self._may_start():
            fleet.starting += 1
            fleet.in_thread(self._start_one)
        self.wake_at = time.monotonic() + _TICK

    def on_receive(self, message: Any) -> Any:
        """Look at once: there is news."""
        return self.on_wake() if message is NEWS else super().on_receive(message)

    def _may_start(self) -> bool:
        return not self._fleet.stopping and self._fleet.due <= time.monotonic()

    def _is_alive(self, child: Child) -> bool:
        if child.is_alive():
            return True
        self._fleet.in_thread(partial(self._fleet.forget, child))
        return False

    def _fill(self, place: Place) -> None:
        """Put a spare into a place, if both are ready."""
        if place.due is not None and place.due <= time.monotonic() and self._fleet.spares:
            place.due = None
            self._fleet.in_thread(partial(self._serve, place, self._fleet.spares.pop()))

    # On threads of their own.

    def _start_one(self) -> None:
        try:
            child = self._fleet.new_child()
        except Exception as error:  # noqa: BLE001 - whatever a module or a store raises
            self._fleet.tell(partial(self._on_not_started, error))
        else:
            if child is not None:
                self._fleet.tell(partial(self._on_spare, child))

    def _serve(self, place: Place, child: Child) -> None:
        """Have a process serve a place, until it ends."""
        leases = self._fleet.leases(place)
        try:
            child.serve(leases)
        except Exception as error:  # noqa: BLE001 - whatever starting a kernel raises
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
        child.end(_LAST_WORDS)
        child.channel.dispose()
        self._fleet.tell(partial(self._on_ended, place, child))

    def _listen(self, place: Place, child: Child) -> None:
        """Take what a process says; raises EOFError or OSError at its end."""
        while True:
            if place.slot.hear(child.channel.receive()):
                place.slot.pause(f"worker process {child.pid} was told to end")
                self._fleet.in_thread(child.channel.finish)

    # What they have found out.

    def _on_spare(self, child: Child) -> None:
        self._fleet.starting -= 1
        self._fleet.failed = 0
        self._fleet.spares.append(child)

    def _on_not_started(self, error: Exception) -> None:
        fleet = self._fleet
        fleet.starting -= 1
        if fleet.stopping:
            return
        fleet.error = error
        log_and_go_on("error", "worker_not_started", reason=error)
        if self._may_start():  # else it was started together with one that failed
            fleet.failed += 1
            fleet.due = self._after(fleet.failed)
        for place in fleet.places:
            if place.due is not None:
                place.slot.down = f"its worker process cannot be started: {error}"

    def _on_not_serving(self, place: Place, error: Exception) -> None:
        if self._fleet.stopping:
            return
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
        place.due = 0.0 if place.failed == 1 else self._after(place.failed)

    def _postpone(self, place: Place, why: str) -> None:
        place.failed += 1
        place.slot.down = why
        place.due = self._after(place.failed)

    def _after(self, failures: int) -> float:
        return time.monotonic() + _BACKOFF.delay(failures, self._rng)
