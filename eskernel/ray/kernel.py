"""RayKernel: what a service embeds that needs more than one machine.

Longer than most modules: it is a public face with its documentation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, Final, Self

import ray

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.owning.options import ShardLeases
from eskernel.actors.runtime import FORKED, STOPPED
from eskernel.actors.tree import Node
from eskernel.contracts import Clock, Domain, Middleware
from eskernel.errors import KernelStopped
from eskernel.projections import Projection
from eskernel.ray.actors import ShardActors, check_reach, nodes, shards_of
from eskernel.ray.running import Running
from eskernel.ray.slot import RaySlot
from eskernel.ray.terms import Terms
from eskernel.remote.calls import Link
from eskernel.remote.front import Front
from eskernel.remote.setup import OPENER, Setup
from eskernel.remote.trees import fields_to_node
from eskernel.remote.wire import Ask

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_NEVER_STARTED: Final = "it was not started; use `with RayKernel(...) as kernel:` or start()"
_TREE_PATIENCE: Final = 2.0  # seconds
_SHARE_OF_CPU: Final = 0.01
"""CPUs that Ray takes a shard to need, unless told: it runs where there are some, and fits."""


class RayKernel(Front):
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
        if type(in_flight_limit) is not int or in_flight_limit < 1:
            raise ValueError(
                f"in_flight_limit must be a whole number of at least 1, not {in_flight_limit!r}"
            )
        if balance_every is not None:
            check_seconds("balance_every", balance_every)
        if not isinstance(name, str) or not 0 < len(name) <= 100 or "/" in name:
            raise ValueError(f"name must have 1 to 100 characters, none of them /, not {name!r}")
        ShardLeases(seconds=lease_seconds)
        super().__init__(setup, 1 if shards is None else shards)
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
        # Guards start and stop; calling threads read `_running` without it. Re-entrant, for a
        # signal handler that stops a kernel which is being stopped.
        self._lifecycle = threading.RLock()
        self._running: Running | None = None
        self._why_not = _NEVER_STARTED
        self._process = os.getpid()

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
        with self._lifecycle:
            if os.getpid() != self._process:
                raise KernelStopped(FORKED)
            if self._running is None:
                actors = self._actors()
                slots = [RaySlot(self._wire, self._limit) for _ in range(actors.shards)]
                running = Running(actors, slots, self._balance_every)
                running.start()
                self._shards = actors.shards
                self._running = running
        return self

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop this front: commands that were sent end, others get KernelStopped.

        The shards run on, for other fronts and for the next start; see `end_shards`.

        Args:
            timeout: seconds to wait for commands under way.

        Returns:
            Whether everything ended in time. In a forked child nothing happens.
        """
        check_seconds("timeout", timeout)
        if os.getpid() != self._process:
            return True
        with self._lifecycle:
            running, self._running = self._running, None
            if running is None:
                return True
            self._why_not = STOPPED
            return running.stop(timeout)

    # The shards.

    def end_shards(self, timeout: float = 5.0) -> bool:
        """End all shards of this name, of a kernel that is started or not; stops it.

        Commands under way end, and every other front gets KernelStopped.

        Args:
            timeout: seconds to wait for commands under way, in each shard.

        Returns:
            Whether everything ended in time.
        """
        check_seconds("timeout", timeout)
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

    def tree(self, *, max_aggregates: int = 20) -> Node:
        """Return the supervision tree of all shards; `print(kernel.tree())` draws it.

        Args:
            max_aggregates: aggregates shown one by one, of each shard.
        """
        running = self._present()
        ask = Ask("tree", (max_aggregates,))
        asked = [(slot, *self._asked(slot, ask, _TREE_PATIENCE)) for slot in running.slots]
        below = []
        for index, (slot, call, reply) in enumerate(asked):
            fields = self._wait(slot, call, reply, _TREE_PATIENCE)
            known = fields is not None and not isinstance(fields, BaseException)
            below.append(
                Node(
                    f"shard-{index}",
                    f"Ray actor {self._name}/{index}",
                    None,
                    known,
                    slot.under_way(),
                    max(running.tenders[index].lives - 1, 0),
                    (fields_to_node(fields),) if known else (),
                )
            )
        return running.node(tuple(below))

    # For Front.

    def _links(self) -> Sequence[Link]:
        return self._present().slots

    def _link_of(self, shard: int) -> Link:
        running = self._running
        if running is None or os.getpid() != self._process:
            raise KernelStopped(self._reason())
        return running.slots[shard]

    def _hand_over(self, job: Callable[[], Any]) -> None:
        running = self._running
        if running is None:
            job()
        else:
            running.callbacks.put(job)

    def _present(self) -> Running:
        running = self._running
        if running is None or os.getpid() != self._process:
            raise KernelStopped(self._reason())
        return running

    def _reason(self) -> str:
        return self._why_not if os.getpid() == self._process else FORKED

    def _actors(self) -> ShardActors:
        if not ray.is_initialized():
            ray.init(address=self._address)
        check_reach(self._setup, nodes().values())
        cpus = int(ray.cluster_resources().get("CPU", 0))
        shards = self._count or shards_of(self._name) or max(1, cpus)
        terms = Terms.of(self._name, shards, self._lease_seconds, self._setup)
        return ShardActors(self._name, shards, terms.packed(), self._placement, self._shard_options)
