"""Runtime: one running tree, from the start of its root to the last answer."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pykka import ActorRef

from eskernel.actors.aggregate.bound_domain import BoundDomain, unpackers_of
from eskernel.actors.aggregate.limits import Limits
from eskernel.actors.aggregate.passivation import LeastRecentlyUsed
from eskernel.actors.aggregate.services import Services
from eskernel.actors.committer import CommitQueue
from eskernel.actors.consuming.read_side import ReadSide
from eskernel.actors.journal import log_and_go_on, log_safely
from eskernel.actors.owning.shards import Shards
from eskernel.actors.pool import JobQueue
from eskernel.actors.supervision import Exit, stop_and_wait, watch
from eskernel.actors.tree import BACKOFF, KernelSupervisor
from eskernel.contracts import CheckpointStore, Clock, EventStore, SnapshotStore
from eskernel.errors import KernelStopped
from eskernel.projections.bound import Bound

ROOT_INTENSITY, ROOT_PERIOD = 5, 30.0
_LAST_ANSWERS = 0.1
"""Seconds for answering what is left, however late it is."""
STOPPED = "it was stopped; start() runs it again"
FORKED = "this process is a fork of the one that started it; start a new Kernel here"


class Runtime:
    """What a Kernel has while it is started.

    Args:
        domains: by aggregate type.
        store: the event store.
        snapshots: the snapshot store, or None.
        clock: where the time comes from.
        limits: the kernel's numbers.
        submit: how the manager routes a command.
        with_middleware: whether commands go through middleware first.
        projections: by name.
        checkpoints: where named subscriptions keep their position; None for the event store.
        shards: whose the aggregates are; None if all are this kernel's.
    """

    def __init__(
        self,
        domains: Mapping[str, BoundDomain],
        store: EventStore,
        snapshots: SnapshotStore | None,
        clock: Clock,
        limits: Limits,
        submit: Callable[[Any], Any],
        *,
        with_middleware: bool,
        projections: Mapping[str, Bound],
        checkpoints: CheckpointStore | None,
        shards: Shards | None,
    ) -> None:
        self.immediate = bool(getattr(store, "immediate", False))
        commits = None if self.immediate else CommitQueue()
        self.services = Services(
            domains,
            store,
            snapshots,
            clock,
            limits,
            JobQueue(),
            JobQueue(),
            commits,
            shards=shards,
            with_middleware=with_middleware,
        )
        if limits.max_live_aggregates is not None:
            self.services.eviction = LeastRecentlyUsed(self.services, limits.max_live_aggregates)
        self._submit = submit
        self.read_side = ReadSide(
            projections,
            store,
            checkpoints,
            unpackers_of(domains),
            self.services.bell,
            clock,
            limits.dispatch_timeout,
        )
        self._lock = threading.RLock()  # as the kernel's
        # Guarded by the lock: no root is started once `_stopping` is set.
        self.root: ActorRef[Any] | None = None
        self._stopping = False
        self._restarts: deque[float] = deque()
        _on_fork(self.services)

    def start(self) -> None:
        """Start the tree and wait until aggregates can be started."""
        self._start_root()
        try:
            self.services.wait_for_supervisor()
        except BaseException:
            self.stop(0.0)
            raise

    def stop(self, timeout: float) -> bool:
        """Refuse new commands, let running ones end, stop the tree, answer what is left.

        Args:
            timeout: seconds.

        Returns:
            Whether everything ended in time.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._stopping = True
            root = self.root
        self.services.refuse(STOPPED)
        ended = root is None or stop_and_wait(root, timeout)
        self.read_side.end()
        self._answer_the_rest(deadline)
        if not ended or self.services.owners:
            log_safely("warning", "kernel_stopped_late", still_running=len(self.services.owners))
        return ended and not self.services.owners

    def _start_root(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self.root = KernelSupervisor.start(self.services, self._submit, self.read_side.registry)
            root = self.root
        watch(root, self._on_root_ended)

    def _on_root_ended(self, ended: Exit) -> None:
        """Restart the root, within limits; on the thread of the one that ended."""
        if self._stopping:
            return
        now = time.monotonic()
        while self._restarts and self._restarts[0] <= now - ROOT_PERIOD:
            self._restarts.popleft()
        if len(self._restarts) >= ROOT_INTENSITY:
            self._fail(ended)
            return
        self._restarts.append(now)
        log_and_go_on("warning", "kernel_supervisor_restarts", reason=ended.reason)
        time.sleep(BACKOFF.first)
        try:
            self._start_root()
        except Exception as error:  # noqa: BLE001 - no thread to be had, for example
            self._fail(Exit(ended.ref, error))

    def _fail(self, ended: Exit) -> None:
        reason = f"it failed: its root supervisor gave up ({ended.reason})"
        log_and_go_on("error", "kernel_failed", reason=reason)
        self.services.refuse(reason)
        self.read_side.end()
        self._answer_the_rest(time.monotonic() + 1.0)

    def _answer_the_rest(self, deadline: float) -> None:
        """Answer, on this thread, everything no actor will answer any more."""
        services = self.services
        supervisor = services.supervisor
        if supervisor is not None:
            supervisor.end_aggregates(None)
        turn = services.turns.mine
        refusal = KernelStopped(services.refusal or STOPPED)
        deadline = max(deadline, time.monotonic() + _LAST_ANSWERS)
        while time.monotonic() < deadline:
            if services.commits is not None:
                services.commits.fail_all(refusal)
            waiting = [actor for actor in list(services.routes.values()) if actor.waiting()]
            for actor in waiting:
                actor.take_turn(turn, 0)
            if not waiting:
                break
            time.sleep(0.001)
        self._refuse_the_rest(refusal)

    def _refuse_the_rest(self, refusal: KernelStopped) -> None:
        """Answer those behind an owner who does not return, and whoever comes from now on."""
        for actor in list(self.services.routes.values()):
            for request in list(actor.mailbox):
                if request.reply.claim(self):
                    request.reply.resolve(refusal)
        self.services.jobs.close()
        self.services.outer_jobs.close()
        self.services.completions.close()


_forkable: weakref.WeakSet[Services] = weakref.WeakSet()
_installed = threading.Lock()


def _on_fork(services: Services) -> None:
    """Have these services refuse in every child this process forks."""
    if not _installed.locked() and _installed.acquire(blocking=False):
        os.register_at_fork(after_in_child=_refuse_in_child)
    _forkable.add(services)


def _refuse_in_child() -> None:
    for services in list(_forkable):
        services.refusal = services.gate = FORKED
