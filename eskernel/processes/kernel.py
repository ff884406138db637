"""ProcessKernel: what a service embeds that needs more than one core."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, Final, Self

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.owning.options import ShardLeases
from eskernel.actors.runtime import FORKED, STOPPED
from eskernel.actors.tree import Node
from eskernel.contracts import Clock, Domain, Middleware
from eskernel.errors import KernelStopped
from eskernel.leasing import new_owner
from eskernel.processes.child import Child
from eskernel.processes.fleet import Fleet, Place
from eskernel.processes.running import Running
from eskernel.projections import Projection
from eskernel.remote.calls import Link
from eskernel.remote.front import Front
from eskernel.remote.placing import places_of
from eskernel.remote.setup import OPENER, Setup
from eskernel.remote.slot import Slot
from eskernel.remote.trees import fields_to_node
from eskernel.remote.wire import Ask

_NO_PROJECTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_NEVER_STARTED: Final = "it was not started; use `with ProcessKernel(...) as kernel:` or start()"
_TREE_PATIENCE: Final = 1.0  # seconds


class ProcessKernel(Front):
    """A Kernel whose aggregates live in worker processes, each with an interpreter of its own.

    Every method is thread-safe, and as of `Kernel`. Each aggregate belongs to one worker, and each
    worker runs a whole kernel. A worker that dies is replaced; commands it had are sent again if
    they carry a `command_id`, and else get `StoreUnavailable(outcome_unknown=True)`.

    Args:
        domains: from aggregate type to domain: a module, or its import path.
        event_store: URL of the store, which each worker opens for itself. With `memory:` each has
            its own, which is lost with it.
        snapshot_store: URL of where snapshots are kept; as `Kernel`.
        workers: how many processes; None for one a core.
        projections: from name to module or import path, or to a `Projection` of one, whose `store`
            is a URL.
        checkpoint_store: URL of where projections keep how far they have come; as `Kernel`.
        snapshot_interval, snapshots_kept, passivation_timeout, dispatch_timeout, inbox_limit,
        receipts_kept: as `Kernel`.
        max_live_aggregates: how many may be live in each worker.
        middleware: functions of modules, or their import paths; they run in the workers.
        clock: an object of a module by its import path; None for the machine's.
        shards: in how many groups aggregates are divided among the workers.
        lease_seconds: if given, each worker takes leases of its shards in the event store, so that
            of several kernels on that store one decides for an aggregate; see `ShardLeases`.
        spares: processes kept ready to replace one that dies.
        in_flight_limit: calls to one worker that may be under way.
        initializer: a function of a module, or its import path, called in each worker before all
            else: to set up logging, for example.
        opener: what opens a store from a URL; `eskernel_stores.open_store`.
        executable: the Python that workers run on; None for this one.

    Raises:
        InvalidDomain, InvalidProjection, NotImportable: a module is none, or another process could
            not import it.
        ValueError: a number is out of its range, or a URL is of a store that one process only can
            open.
        TypeError: something is of the wrong kind.
    """

    def __init__(
        self,
        domains: Mapping[str, Domain | ModuleType | str],
        event_store: str,
        snapshot_store: str | None = None,
        *,
        workers: int | None = None,
        projections: Mapping[str, ModuleType | Projection | str | Any] = _NO_PROJECTIONS,
        checkpoint_store: str | None = None,
        snapshot_interval: int = 0,
        snapshots_kept: int = 1,
        passivation_timeout: float = 5.0,
        max_live_aggregates: int | None = None,
        dispatch_timeout: float = 5.0,
        inbox_limit: int = 1000,
        receipts_kept: int = 1000,
        middleware: Sequence[Middleware | str] = (),
        clock: Clock | str | None = None,
        shards: int = 256,
        lease_seconds: float | None = None,
        spares: int = 1,
        in_flight_limit: int = 100_000,
        initializer: Callable[[], Any] | str | None = None,
        opener: Callable[[str], Any] | str = OPENER,
        executable: str | None = None,
    ) -> None:
        options = {
            "snapshot_interval": snapshot_interval,
            "snapshots_kept": snapshots_kept,
            "passivation_timeout": passivation_timeout,
            "max_live_aggregates": max_live_aggregates,
            "dispatch_timeout": dispatch_timeout,
            "inbox_limit": inbox_limit,
            "receipts_kept": receipts_kept,
        }
        setup = Setup.of(
            domains,
            event_store,
            snapshot_store,
            checkpoint_store,
            projections,
            middleware,
            clock,
            opener,
            initializer,
            options,
        )
        count = os.cpu_count() or 1 if workers is None else workers
        for name, number, least in (
            ("workers", count, 1),
            ("spares", spares, 0),
            ("in_flight_limit", in_flight_limit, 1),
        ):
            if type(number) is not int or number < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {number!r}"
                )
        super().__init__(setup, shards)
        if lease_seconds is not None:
            ShardLeases(shards=shards, seconds=lease_seconds)  # or raises ValueError
        self._lease_seconds = lease_seconds
        self._names = [f"worker-{number}" for number in range(count)]
        self._places = places_of(self._names, shards)
        self._spares = spares
        self._limit = in_flight_limit
        self._executable = sys.executable if executable is None else executable
        self._folder = os.getcwd()
        # Guards start and stop; calling threads read `_running` without it. Re-entrant, for a
        # signal handler that stops a kernel which is being stopped.
        self._lifecycle = threading.RLock()
        self._running: Running | None = None
        self._why_not = _NEVER_STARTED
        _on_fork(self)

    def start(self) -> Self:
        """Start the workers, and return when all of them serve; on a started kernel, do nothing.

        Raises:
            InvalidDomain, InvalidProjection, NotImportable: a worker cannot import something.
            StoreUnavailable, ValueError, ModuleNotFoundError: a worker cannot open a store.
            KernelStopped: in a forked child, or when the workers do not come up; nothing is left
                of them then.
        """
        if self._why_not == FORKED:  # before the lock, which a thread of the parent may have held
            raise KernelStopped(FORKED)
        with self._lifecycle:
            if self._running is None:
                running = Running(self._fleet())
                try:
                    running.start()
                except BaseException:
                    running.stop(0.0)
                    raise
                self._running = running
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop: commands that were sent end, others get KernelStopped, new ones are refused.

        Args:
            timeout: seconds to wait for commands under way; then the workers are killed.

        Returns:
            Whether everything ended in time. In a forked child nothing happens.
        """
        check_seconds("timeout", timeout)
        if self._why_not == FORKED:
            return True
        with self._lifecycle:
            running, self._running = self._running, None
            if running is None:
                return True
            self._why_not = STOPPED
            return running.stop(timeout)

    def tree(self, *, max_aggregates: int = 20) -> Node:
        """Return the supervision tree of all processes; `print(kernel.tree())` draws it.

        Args:
            max_aggregates: aggregates shown one by one, of each worker.
        """
        running = self._present()
        ask = Ask("tree", (max_aggregates,))
        asked = []
        for place in running.fleet.places:
            link = place.slot
            asked.append((place, *self._asked(link, ask, _TREE_PATIENCE)))
        below = []
        for place, call, reply in asked:
            child = place.child
            fields = self._wait(place.slot, call, reply, _TREE_PATIENCE) if child else None
            below.append(
                Node(
                    place.name,
                    f"process {child.pid}" if child else "waits for its restart",
                    None,
                    child is not None,
                    place.slot.under_way(),
                    max(place.restarts, 0),
                    (fields_to_node(fields),) if isinstance(fields, list) else (),
                )
            )
        return running.node(tuple(below))

    def _links(self) -> Sequence[Link]:
        return self._present().slots

    def _link_of(self, shard: int) -> Link:
        running = self._running
        if running is None:
            raise KernelStopped(self._why_not)
        return running.slots[self._places[shard]]

    def _hand_over(self, job: Callable[[], Any]) -> None:
        running = self._running
        if running is None:
            job()
        else:
            running.callbacks.put(job)

    def _present(self) -> Running:
        running = self._running
        if running is None:
            raise KernelStopped(self._why_not)
        return running

    def _fleet(self) -> Fleet:
        places = [Place(name, Slot(self._wire, self._limit)) for name in self._names]
        return Fleet(
            places,
            partial(Child, self._executable, self._folder),
            self._setup.packed(),
            self._leases_of,
            self._spares,
        )

    def _leases_of(self, place: Place) -> dict[str, Any] | None:
        """Return how the next kernel in a place owns its shards."""
        if self._lease_seconds is None:
            return None
        return {
            "shards": self._shards,
            "seconds": self._lease_seconds,
            "owner": f"{place.name}@{new_owner()}",
            "succeeds": place.owner,
        }

    def _forked(self) -> None:
        """Let go of the workers, in a forked child: they are the parent's.

        A kernel that was not started has none, and can be started in the child.
        """
        running, self._running = self._running, None
        if running is None:
            self._lifecycle = threading.RLock()  # a thread of the parent may have held it
            return
        self._why_not = FORKED
        for child in list(running.fleet.all):
            child.abandon()


_forkable: weakref.WeakSet[ProcessKernel] = weakref.WeakSet()
_installed = threading.Lock()


def _on_fork(kernel: ProcessKernel) -> None:
    """Have a kernel let go of its workers in every child this process forks."""
    if _installed.acquire(blocking=False):
        os.register_at_fork(after_in_child=_forked)
    _forkable.add(kernel)


def _forked() -> None:
    for kernel in list(_forkable):
        kernel._forked()  # noqa: SLF001 - its own module
