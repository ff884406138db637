"""RayKernel: what a service embeds that needs more than one machine.

Longer than most modules: it is a public face with its documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, Final, Self

import ray

from eskernel.actors.aggregate.limits import Limits, check_count, check_seconds
from eskernel.actors.owning.options import ShardLeases
from eskernel.contracts import Clock, Domain, Middleware
from eskernel.projections import Projection
from eskernel.ray.actors import ShardActors, count_shards
from eskernel.ray.cluster import check_reach, nodes
from eskernel.ray.running import RunningShards
from eskernel.ray.slot import RaySlot
from eskernel.ray.terms import Terms
from eskernel.remote.front import Front
from eskernel.remote.router import Router
from eskernel.remote.setup import OPENER, Setup

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_SHARE_OF_CPU: Final = 0.01
"""CPUs that Ray takes a shard to need, unless told: it runs where there are some, and fits."""


class RayKernel(Front[RunningShards]):
    """A Kernel whose aggregates live in the actors of a Ray cluster, a shard of them in each.

    Every method is thread-safe, and as of `Kernel`. Each shard runs a whole kernel. Ray spreads
    the shards, restarts those that die, elsewhere if need be, and carries the commands, which go
    to each shard in batches. Kernels of one name, in any process of the cluster, share the shards.

    Commands that a dying shard had are sent again if they carry a `command_id`, and else get
    `StoreUnavailable(outcome_unknown=True)`.

    Args:
        domains: from aggregate type to domain: a module, or its import path; to be importable on
            every node.
        event_store: URL of the store, which each shard opens for itself. With `memory:` each has
            its own, which is lost with it. With a store that keeps shard leases (SQLite,
            PostgreSQL, MongoDB), not even a shard that Ray takes for dead, and that lives, can
            store anything.
        snapshot_store: URL of where snapshots are kept; as `Kernel`.
        name: of the set of shards, 1 to 100 characters.
        shards: how many; None for one a CPU of the cluster.
        placement: how Ray spreads them: "SPREAD", "DEFAULT", or one of Ray's strategies.
        shard_options: more of Ray's options for the actors: `num_cpus`, `resources`,
            `runtime_env` and the like.
        balance_every: seconds between two looks whether nodes have come, which then get their
            share of the shards; None to leave that to `rebalance`.
        address: of the cluster, for `ray.init`, if the process is not connected yet.
        projections: from name to module or import path, or to a `Projection` of one, whose `store`
            is a URL.
        checkpoint_store: URL of where projections keep how far they have come; as `Kernel`.
        snapshot_interval, snapshots_kept, passivation_timeout, dispatch_timeout, inbox_limit,
        receipts_kept: as `Kernel`.
        max_live_aggregates: how many may be live in each shard.
        middleware: functions of modules, or their import paths; they run in the shards.
        clock: an object of a module by its import path; None for the machine's.
        lease_seconds: how long a shard's lease is valid; it is renewed three times as often.
        in_flight_limit: calls to one shard that may be under way.
        initializer: a function of a module, or its import path, called in each shard before all
            else: to set up logging, for example.
        opener: what opens a store from a URL; `eskernel_stores.open_store`.

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
        name: str = "eskernel",
        shards: int | None = None,
        placement: Any = "SPREAD",
        shard_options: Mapping[str, Any] = _NOTHING,
        balance_every: float | None = 5.0,
        address: str | None = None,
        projections: Mapping[str, ModuleType | Projection | str | Any] = _NOTHING,
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
        lease_seconds: float = 5.0,
        in_flight_limit: int = 100_000,
        initializer: Callable[[], Any] | str | None = None,
        opener: Callable[[str], Any] | str = OPENER,
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
        if shards is not None:
            check_count("shards", shards, 1)
        check_count("in_flight_limit", in_flight_limit, 1)
        if balance_every is not None:
            check_seconds("balance_every", balance_every)
        if not isinstance(name, str) or not 0 < len(name) <= 100 or "/" in name:
            raise ValueError(f"name must have 1 to 100 characters, none of them /, not {name!r}")
        ShardLeases(seconds=lease_seconds)
        super().__init__(setup)
        self._name = name
        self._count = shards
        self._placement = placement
        # No record of each call for Ray's dashboard: it costs more than a small domain.
        defaults = {"num_cpus": _SHARE_OF_CPU, "enable_task_events": False}
        self._shard_options = {**defaults, **shard_options}
        self._balance_every = balance_every
        self._address = address
        self._lease_seconds = lease_seconds
        self._limit = in_flight_limit

    # Life.

    def start(self) -> Self:
        """Find the shards, or make them, and return when all are open; if started, do nothing.

        Connects the process with a Ray cluster, if it is not.

        Raises:
            ValueError: there are shards of that name which were made otherwise; or sqlite: on more
                than one machine.
            InvalidDomain, InvalidProjection, NotImportable: a shard cannot import something.
            StoreUnavailable, ModuleNotFoundError: a shard cannot open a store.
            KernelStopped: in a forked child, or when the shards do not come up.
        """
        return super().start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Let go of the shards: commands that were sent end, others get KernelStopped.

        The shards run on, for other kernels of this name and for the next start; see `end_shards`.

        Args:
            timeout: seconds to wait for commands under way.

        Returns:
            Whether everything ended in time. In a forked child nothing happens.
        """
        return super().stop(timeout)

    # The shards.

    def end_shards(self, timeout: float = 5.0) -> bool:
        """End all shards of this name, of a kernel that is started or not; stops it.

        Commands under way end, and every other kernel of this name gets KernelStopped.

        Args:
            timeout: seconds to wait for commands under way, in each shard.

        Returns:
            Whether everything ended in time.
        """
        self._refuse_fork()
        stopped = self.stop(timeout)
        with self._lifecycle:
            return self._actors().end(timeout) and stopped

    def rebalance(self) -> int:
        """Move shards so that every node has its share, and return how many were moved.

        The commands of a shard wait while it moves. It runs nothing any more, and its stores are
        closed, before it is made anew; one whose commands do not end soon stays where it is.

        Raises:
            KernelStopped: the kernel is not running.
        """
        return self._present().rebalance()

    def shard_nodes(self) -> list[str | None]:
        """Return the id of the Ray node each shard runs on; None for one that does not answer."""
        return self._present().actors.places()

    # For Front.

    def _new(self) -> RunningShards:
        actors = self._actors()
        slots = [RaySlot(self._wire, self._limit) for _ in range(actors.shards)]
        router = Router(self._wire.domains, actors.shards)
        return RunningShards(actors, slots, router, self._balance_every)

    def _actors(self) -> ShardActors:
        if not ray.is_initialized():
            ray.init(address=self._address)
        check_reach(self._setup, nodes().values())
        cpus = int(ray.cluster_resources().get("CPU", 0))
        shards = self._count or count_shards(self._name) or max(1, cpus)
        terms = Terms.of(self._name, shards, self._lease_seconds, self._setup)
        return ShardActors(self._name, shards, terms.packed(), self._placement, self._shard_options)
