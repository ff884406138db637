"""ProcessKernel: what a service embeds that needs more than one core."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, Final, Self

from eskernel.actors.aggregate.limits import Limits, check_count
from eskernel.actors.owning.options import ShardLeases
from eskernel.contracts import Clock, Domain, Middleware
from eskernel.leasing import new_owner
from eskernel.processes.child import Child
from eskernel.processes.fleet import Fleet, WorkerSlot
from eskernel.processes.placing import worker_of_each_shard
from eskernel.processes.running import RunningProcesses
from eskernel.projections import Projection
from eskernel.remote.front import Front
from eskernel.remote.router import Router
from eskernel.remote.setup import OPENER, Setup
from eskernel.remote.slot import Slot

_NO_PROJECTIONS: Final[Mapping[str, Any]] = MappingProxyType({})


class ProcessKernel(Front[RunningProcesses]):
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
        setup = Setup.of(
            domains=domains,
            event_store=event_store,
            snapshot_store=snapshot_store,
            checkpoint_store=checkpoint_store,
            projections=projections,
            middleware=middleware,
            clock=clock,
            opener=opener,
            initializer=initializer,
            limits=Limits(
                snapshot_interval=snapshot_interval,
                snapshots_kept=snapshots_kept,
                inbox_limit=inbox_limit,
                receipts_kept=receipts_kept,
                max_live_aggregates=max_live_aggregates,
                passivation_timeout=passivation_timeout,
                dispatch_timeout=dispatch_timeout,
            ),
        )
        count = os.cpu_count() or 1 if workers is None else workers
        check_count("workers", count, 1)
        check_count("shards", shards, 1)
        check_count("spares", spares, 0)
        check_count("in_flight_limit", in_flight_limit, 1)
        if lease_seconds is not None:
            ShardLeases(shards=shards, seconds=lease_seconds)  # or raises ValueError
        super().__init__(setup)
        self._shards = shards
        self._lease_seconds = lease_seconds
        self._names = [f"worker-{number}" for number in range(count)]
        self._spares = spares
        self._limit = in_flight_limit
        self._executable = sys.executable if executable is None else executable
        self._folder = os.getcwd()

    def start(self) -> Self:
        """Start the workers, and return when all of them serve; on a started kernel, do nothing.

        Raises:
            InvalidDomain, InvalidProjection, NotImportable: a worker cannot import something.
            StoreUnavailable, ValueError, ModuleNotFoundError: a worker cannot open a store.
            OSError: the workers' Python cannot be started.
            KernelStopped: in a forked child, or when the workers do not come up; nothing is left
                of them then.
        """
        return super().start()

    def worker_pids(self) -> list[int | None]:
        """Return the process id of each worker; None for one that waits for its replacement.

        Raises:
            KernelStopped: the kernel is not running.
        """
        return self._present().pids()

    def _new(self) -> RunningProcesses:
        slots = [WorkerSlot(name, Slot(self._wire, self._limit)) for name in self._names]
        fleet = Fleet(
            slots,
            partial(Child, self._executable, self._folder),
            self._setup.packed(),
            self._leases_of,
            self._spares,
        )
        router = Router(self._wire.domains, self._shards)
        return RunningProcesses(fleet, router, worker_of_each_shard(self._names, self._shards))

    def _leases_of(self, worker: WorkerSlot) -> dict[str, Any] | None:
        """Return how the next kernel in a slot owns its shards."""
        if self._lease_seconds is None:
            return None
        return {
            "shards": self._shards,
            "seconds": self._lease_seconds,
            "owner": f"{worker.name}@{new_owner()}",
            "predecessor": worker.owner,
        }
