"""Kernel: what a service embeds.

Longer than most modules: it is the whole public face with its documentation, and the hot path,
where a call more would cost as much as a small domain. The work is done elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any, Final, Literal, Self, overload

from pykka import ActorRef

from eskernel.actors.aggregate.bound_domain import BoundDomain, unpackers_of
from eskernel.actors.aggregate.caller_run import CALLER_BATCH
from eskernel.actors.aggregate.calling import (
    ask_queued,
    copy_state,
    dispatch_queued,
    recall_outcome,
)
from eskernel.actors.aggregate.limits import Limits, check_seconds
from eskernel.actors.aggregate.replies import AnyReply, FutureReply
from eskernel.actors.aggregate.requests import CommandRequest
from eskernel.actors.aggregate.routing import Aggregate
from eskernel.actors.aggregate.services import Services
from eskernel.actors.consuming.callback import RunningSubscription
from eskernel.actors.consuming.projecting import RunningProjection
from eskernel.actors.consuming.read_side import ReadSide
from eskernel.actors.consuming.subscribing import Subscription
from eskernel.actors.owning.options import ShardLeases, check_shard_leases
from eskernel.actors.owning.shards import Shards
from eskernel.actors.runtime import FORKED, Runtime
from eskernel.actors.tree import Node, draw
from eskernel.contracts import (
    CallNext,
    CheckpointStore,
    Clock,
    Domain,
    EventStore,
    FencingEventStore,
    Middleware,
    SnapshotStore,
)
from eskernel.contracts.plugging import (
    check_domains,
    check_event_store,
    check_plugins,
    checked_middleware,
)
from eskernel.errors import InvalidCommand, KernelStopped, ReentrantDispatch
from eskernel.projections import Projection
from eskernel.projections.audit import Audit
from eskernel.projections.bound import bind
from eskernel.values import Accepted, Command, Event, StreamId, check_identifier

_NO_PROJECTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_NEVER_STARTED = "it was not started; use `with Kernel(...) as kernel:` or start()"


class Kernel:
    """Runs domains as concurrent, supervised, durable aggregates; every method is thread-safe.

    Args:
        domains: from aggregate type to domain, see `eskernel.contracts.Domain`.
        event_store: where events are kept. The kernel does not close it.
        snapshot_store: where snapshots are kept; without one, an event store that also keeps
            snapshots keeps them.
        projections: from name to projection module, see `eskernel.projections.Definition`, or to
            a `Projection` that also says how it is run.
        checkpoint_store: where projections and named subscriptions keep how far they have come;
            without one, an event store that also keeps checkpoints keeps them.
        snapshot_interval: take a snapshot whenever an append crosses a multiple of so many
            events; 0 for never.
        snapshots_kept: snapshots retained per aggregate, at least 1.
        passivation_timeout: seconds an aggregate may be idle before it is stopped.
        max_live_aggregates: how many may be live; the least recently used are stopped first. None
            for no limit.
        dispatch_timeout: seconds a dispatch waits, unless it says otherwise.
        inbox_limit: requests that may wait for one aggregate.
        receipts_kept: accepted commands with a `command_id` each aggregate remembers.
        middleware: functions around every command, outermost first; see
            `eskernel.contracts.Middleware`.
        clock: where the time comes from; None for the machine's.
        shard_leases: one owner for each aggregate, among the kernels of several processes; see
            `ShardLeases`. Commands to another's get NotOwner. The event store must be a
            FencingEventStore. None: every kernel decides every command, and where two do so at
            once, the later one catches up and decides again.

    Raises:
        InvalidDomain: a domain misses a function.
        InvalidProjection: a projection does, or there is nowhere to keep its checkpoints.
        ValueError: a number is out of its range, or the event store cannot keep shard leases.
        TypeError: what is plugged in is not what is wanted.
    """

    def __init__(
        self,
        domains: Mapping[str, Domain | ModuleType],
        event_store: EventStore,
        snapshot_store: SnapshotStore | None = None,
        *,
        projections: Mapping[str, ModuleType | Projection | Any] = _NO_PROJECTIONS,
        checkpoint_store: CheckpointStore | None = None,
        snapshot_interval: int = 0,
        snapshots_kept: int = 1,
        passivation_timeout: float = 5.0,
        max_live_aggregates: int | None = None,
        dispatch_timeout: float = 5.0,
        inbox_limit: int = 1000,
        receipts_kept: int = 1000,
        middleware: Sequence[Middleware] = (),
        clock: Clock | None = None,
        shard_leases: ShardLeases | None = None,
    ) -> None:
        self._limits = Limits(
            snapshot_interval=snapshot_interval,
            snapshots_kept=snapshots_kept,
            inbox_limit=inbox_limit,
            receipts_kept=receipts_kept,
            max_live_aggregates=max_live_aggregates,
            passivation_timeout=passivation_timeout,
            dispatch_timeout=dispatch_timeout,
        )
        check_domains(domains)
        check_event_store(event_store)
        check_shard_leases(shard_leases, event_store)
        if snapshot_store is None and isinstance(event_store, SnapshotStore):
            snapshot_store = event_store
        self._clock: Clock = time if clock is None else clock
        check_plugins(snapshot_store, self._clock)
        self._domains = {name: BoundDomain(name, module) for name, module in domains.items()}
        unpackers = unpackers_of(self._domains)
        self._projections = bind(projections, unpackers, (checkpoint_store, event_store))
        self._checkpoints = checkpoint_store
        self._store = event_store
        self._snapshots = snapshot_store
        self._shard_leases = shard_leases
        self._middleware = checked_middleware(middleware)
        # Guards start and stop. Dispatching threads read `_runtime` without it. Re-entrant, for a
        # signal handler that stops a kernel which is being stopped.
        self._lifecycle = threading.RLock()
        self._runtime: Runtime | None = None

    # Life.

    def start(self) -> Self:
        """Start the supervision tree; on a started kernel, do nothing.

        Raises:
            KernelStopped: in a forked child of the process that started it, or when the tree does
                not come up; nothing of it is left then.
        """
        with self._lifecycle:
            runtime = self._runtime
            if runtime is not None and runtime.services.refusal is None:
                return self
            if runtime is not None and runtime.services.refusal == FORKED:
                raise KernelStopped(FORKED)
            self._runtime = Runtime(
                self._domains,
                self._store,
                self._snapshots,
                self._clock,
                self._limits,
                self.submit,
                with_middleware=bool(self._middleware),
                projections=self._projections,
                checkpoints=self._checkpoints,
                shards=self._shards(),
            )
            self._runtime.start()
        return self

    def _shards(self) -> Shards | None:
        if self._shard_leases is None:
            return None
        assert isinstance(self._store, FencingEventStore), "the constructor has checked it"
        return Shards(self._store, self._shard_leases, self._clock)

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop: running commands end, waiting ones get KernelStopped, new ones are refused.

        Args:
            timeout: seconds to wait for running commands.

        Returns:
            Whether everything ended in time. In a forked child nothing happens.
        """
        check_seconds("timeout", timeout)
        runtime = self._runtime
        if runtime is None or runtime.services.refusal == FORKED:
            return True
        with self._lifecycle:
            return runtime.stop(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # Commands.

    def dispatch(  # noqa: C901, PLR0912 - the hot path
        self,
        command: Command,
        *,
        timeout: float | None = None,
        wait_for: Collection[str] = (),
    ) -> Accepted:
        """Have a command decided and its events stored, and return the outcome.

        Args:
            command: what to do.
            timeout: seconds to wait for others; domain code on this very thread is not timed. None
                for the kernel's `dispatch_timeout`.
            wait_for: names of projections that shall have seen the command's events on return.

        Returns:
            What was stored, once it is stored.

        Raises:
            CommandRejected: the domain refused.
            NotProjected: the events are stored, and `accepted` says which, but one of `wait_for`
                has not seen them in time, or has stopped.
            UnknownProjection: no projection of a name in `wait_for`; nothing was done.
            EskernelError: anything else that eskernel names; see the README's failure table.
            Exception: whatever a middleware raises.
        """
        # The hot path: run a free aggregate on this very thread. Whatever interrupts it,
        # `interrupted` repairs; see `turns`.
        runtime = self._runtime
        if runtime is None:
            raise KernelStopped(_NEVER_STARTED)
        if wait_for:
            return self._dispatch_and_wait(runtime, command, timeout, wait_for)
        services = runtime.services
        turn = services.turns.mine
        if turn.running or services.gate is not None or command.__class__ is not Command:
            self._checked(command)
            if self._middleware:
                return self._call(0, command, timeout)
        try:
            actor = services.routes.get(command[:2])
        except TypeError:
            actor = None
        if actor is None:
            actor, timeout = self._start(services, command[:2], timeout)
        if runtime.immediate:
            owners = services.owners
            outcome = None
            try:
                if owners.setdefault(actor, turn) is turn:
                    if not (actor.mailbox or actor.life.over):
                        turn.running = True
                        outcome = actor.execute(command)
                        turn.running = False
                    del owners[actor]
                    if actor.mailbox or actor.life.over:
                        actor.take_turn(turn, CALLER_BATCH)
            except BaseException:
                actor.interrupted(turn)
                raise
            if outcome is not None:
                if outcome.__class__ is Accepted:
                    return outcome
                raise outcome  # type: ignore[misc]
        return dispatch_queued(services, actor, command, timeout)

    def _dispatch_and_wait(
        self,
        runtime: Runtime,
        command: Command,
        timeout: float | None,
        wait_for: Collection[str],
    ) -> Accepted:
        projections = runtime.read_side.checked(wait_for)
        seconds = self._limits.dispatch_timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        deadline = time.monotonic() + seconds
        accepted = self.dispatch(command, timeout=timeout)
        if accepted.position is not None:
            for projection in projections:
                left = max(0.0, deadline - time.monotonic())
                projection.wait_for(accepted.position, left, accepted=accepted)
        return accepted

    def submit(self, command: Command) -> Future[Accepted]:
        """Have a command decided by the pool, and return at once.

        While the AggregateSupervisor is being restarted, a command to an aggregate that is not live
        waits for it, up to `dispatch_timeout` seconds.

        Args:
            command: what to do.

        Returns:
            A future of the outcome. Cancelling it works until the command begins. Its callbacks,
            and middleware, run on threads of a pool of their own, where they may use the kernel; do
            not wait there for another future of the kernel.

        Raises:
            InvalidCommand, KernelStopped, ReentrantDispatch: at once.
            Overloaded, UnknownAggregateType, DispatchTimeout: at once, unless there is middleware.
                Every other outcome is the future's.
        """
        services = self._checked(command)
        reply = FutureReply(services.outer_jobs.put)
        self._post(services, command, reply)
        return reply.future

    def post(
        self,
        command: Command,
        reply: AnyReply,
        run_later: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        """Have a command decided, and its outcome handed to a reply; raises as `submit`.

        For hosts that pass the outcome on; everybody else uses `submit`.

        Args:
            command: what to do.
            reply: where the outcome goes.
            run_later: for a store that appends at once: given what decides the command, to be run
                soon on a thread that nothing interrupts. None for the pool.
        """
        services = self._checked(command)
        if services.commits is not None:
            run_later = None  # the pool waits for the store, many commands at a time
        self._post(services, command, reply, run_later)

    def _post(
        self,
        services: Services,
        command: Command,
        reply: AnyReply,
        run_later: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        if self._middleware:
            services.outer_jobs.put(lambda: self._run_chain(command, reply))
        else:
            actor, _ = self._start(services, command[:2])
            actor.post(CommandRequest(command, reply), run_later=run_later)

    def _call(self, index: int, command: Command, timeout: float | None) -> Accepted:
        """Call the middleware of this index, or at the end of the chain dispatch."""
        if index == len(self._middleware):
            services = self._checked(command)
            actor, timeout = self._start(services, command[:2], timeout)
            return dispatch_queued(services, actor, command, timeout)
        call_next: CallNext = lambda passed: self._call(index + 1, passed, timeout)  # noqa: E731
        middleware = self._middleware[index]
        outcome = middleware(command, call_next)
        if not isinstance(outcome, Accepted):
            raise TypeError(
                f"middleware {middleware!r} returned {outcome!r}, not an Accepted; "
                "end it with `return call_next(command)`"
            )
        return outcome

    def _run_chain(self, command: Command, reply: AnyReply) -> None:
        if not reply.claim(reply):
            return
        try:
            self._services()  # a stopped kernel runs no middleware
            outcome: Any = self._call(0, command, None)
        except BaseException as error:  # noqa: BLE001 - the future's, whatever it is
            outcome = error
        reply.resolve(outcome)

    # Reading.

    def state_of(
        self, aggregate_type: str, aggregate_id: str, *, timeout: float | None = None
    ) -> tuple[Any, int]:
        """Return a copy of an aggregate's state and its sequence, other processes' events included.

        Args:
            aggregate_type: which kind.
            aggregate_id: which one.
            timeout: seconds to wait; None for the kernel's `dispatch_timeout`.

        Returns:
            State and sequence; `(init(), 0)` for an aggregate without events.

        Raises:
            InvalidDomain: the state holds something that cannot be stored, and so not be copied.
            EskernelError: as `dispatch`.
        """
        return self._read((aggregate_type, aggregate_id), copy_state, None, timeout)  # type: ignore[no-any-return]

    def outcome_of(
        self,
        aggregate_type: str,
        aggregate_id: str,
        command_id: str,
        *,
        timeout: float | None = None,
    ) -> Accepted | None:
        """Return what a command stored, if it is among the newest `receipts_kept`, else None.

        Args:
            aggregate_type: which kind.
            aggregate_id: which one.
            command_id: the command's.
            timeout: seconds to wait; None for the kernel's `dispatch_timeout`.

        Raises:
            EskernelError: as `dispatch`.
        """
        check_identifier("command_id", command_id)
        recall = partial(recall_outcome, command_id)
        return self._read((aggregate_type, aggregate_id), recall, command_id, timeout)  # type: ignore[no-any-return]

    def live_aggregates(self) -> list[StreamId]:
        """Return the stream ids of the aggregates that are live."""
        runtime = self._runtime
        routes = {} if runtime is None else runtime.services.routes
        return [actor.stream_id for actor in list(routes.values()) if not actor.life.over]

    def aggregate_ref(self, aggregate_type: str, aggregate_id: str) -> ActorRef[Any] | None:
        """Return Pykka's reference to a live aggregate, or None."""
        runtime = self._runtime
        routes = {} if runtime is None else runtime.services.routes
        try:
            actor = routes.get((aggregate_type, aggregate_id))
        except TypeError:  # unhashable, so not strings
            actor = None
        return None if actor is None or actor.life.over else actor.actor_ref

    def tree(self, *, max_aggregates: int = 20) -> Node:
        """Return the supervision tree; `print(kernel.tree())` draws it.

        Args:
            max_aggregates: aggregates shown one by one.
        """
        if self._runtime is None:
            raise KernelStopped(_NEVER_STARTED)
        return draw(self._runtime.root, self._runtime.services, max_aggregates)

    def _read(
        self, stream_id: StreamId, read: Any, command_id: str | None, timeout: float | None
    ) -> Any:
        services = self._services()
        self._refuse_reentrance(services)
        actor, timeout = self._start(services, stream_id, timeout)
        return ask_queued(services, actor, read, command_id, timeout)

    # The read side.

    def projection(self, name: str) -> RunningProjection:
        """Return a projection: its state, how far it has come, and what can be done with it.

        Args:
            name: as in `projections`.

        Raises:
            UnknownProjection: there is none of that name.
            KernelStopped: the kernel is not running.
        """
        return self._read_side().projection(name)

    def audit(self, name: str, *, full: bool = False) -> Audit:
        """Compare what a projection has handled with the log, on the calling thread.

        Args:
            name: of the projection.
            full: whether to read again what an earlier audit has proved.

        Returns:
            What was found; `complete` says whether each matching position was handled once.

        Raises:
            UnknownProjection, KernelStopped: as `projection`.
            EskernelError: the store could not be read.
        """
        return self.projection(name).audit(full=full)

    @overload
    def subscribe(
        self,
        callback: None = None,
        *,
        name: str | None = None,
        from_position: int = 0,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
        lease_seconds: float = 5.0,
    ) -> Subscription: ...

    @overload
    def subscribe(
        self,
        callback: Callable[[Event], Any],
        *,
        name: str | None = None,
        from_position: int = 0,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
        store: CheckpointStore | None = None,
        on_failure: Literal["stop", "park"] = "stop",
        retries: int = 5,
        first_retry: float = 0.05,
        longest_retry: float = 5.0,
        parked_limit: int = 1000,
        lease_seconds: float = 5.0,
        poll_interval: float = 0.1,
    ) -> RunningSubscription: ...

    def subscribe(
        self,
        callback: Callable[[Event], Any] | None = None,
        *,
        name: str | None = None,
        from_position: int = 0,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
        **options: Any,
    ) -> Subscription | RunningSubscription:
        """Follow the log: what is there, then what comes, from other processes too.

        Args:
            callback: called with each event, in order, on a supervised thread of its own; it may
                use the kernel, and close the subscription. None to get an iterator instead, whose
                events are dealt with when the next one is asked for.
            name: 1 to 200 characters; keeps the position, so that a subscription of that name goes
                on where the last one was. At least once: after a crash at most the last page of
                events comes again. Of several kernels with a subscription of that name one is
                active, and another takes over when it is gone; within a kernel a name is used
                once at a time, for a callback or an iterator.
            from_position: the last position that is not wanted, for one that has no position yet;
                `store.last_position()` for what comes from now on.
            types: only events of these types.
            aggregate_types: only events of these aggregate types.
            options: of a callback: what becomes of a failing event, and the other options of
                `Projection`. Of an iterator with a name: `lease_seconds`, how long another waits
                before it takes over from one that is gone; so long may be taken for an event.

        Raises:
            KernelStopped: the kernel is not running.
            InvalidProjection: a name, and nowhere to keep its position.
            ValueError: the name is in use in this kernel, or an argument is out of its bounds.
            TypeError: an argument is of the wrong type, or an option that makes no sense.
        """
        return self._read_side().subscribe(
            callback, name, from_position, types, aggregate_types, options
        )

    def _read_side(self) -> ReadSide:
        self._services()
        assert self._runtime is not None
        return self._runtime.read_side

    # Refusing.

    def _services(self) -> Services:
        if self._runtime is None:
            raise KernelStopped(_NEVER_STARTED)
        services = self._runtime.services
        if services.refusal is not None:
            raise KernelStopped(services.refusal)
        return services

    def _checked(self, command: Any) -> Services:
        """Return the services, or raise whatever speaks against handling the command."""
        services = self._services()
        self._refuse_reentrance(services)
        if not isinstance(command, Command):
            raise InvalidCommand(
                f"the kernel takes a Command, not {type(command).__name__}; "
                "make one: Command(aggregate_type, aggregate_id, type, payload)"
            )
        return services

    def _refuse_reentrance(self, services: Services) -> None:
        if services.turns.mine.running:
            raise ReentrantDispatch(
                "a domain function called the kernel; domains are pure: return events instead, "
                "and let the caller dispatch the next command"
            )

    def _start(
        self, services: Services, stream_id: StreamId, timeout: float | None = None
    ) -> tuple[Aggregate, float | None]:
        """Return the stream's actor, started if there is none, and what is left of the timeout."""
        try:
            actor = services.routes.get(stream_id)
        except TypeError:  # unhashable, so not strings
            actor = None
        if actor is not None:
            return actor, timeout
        seconds = self._limits.dispatch_timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        begun = time.monotonic()
        actor = services.route(stream_id, seconds)
        return actor, max(0.0, seconds - (time.monotonic() - begun))
