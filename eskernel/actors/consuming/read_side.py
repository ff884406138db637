"""ReadSide: the projections and subscriptions of one running kernel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from eskernel.actors.bell import Bell
from eskernel.actors.consuming.actor import ConsumerActor, Post, ProjectionActor, SubscriptionActor
from eskernel.actors.consuming.callback import (
    VERSION,
    ClosableCallback,
    RunningSubscription,
    module_of,
)
from eskernel.actors.consuming.projecting import RunningProjection
from eskernel.actors.consuming.registry import Registry
from eskernel.actors.consuming.subscribing import (
    Hints,
    Names,
    Subscription,
    Wanted,
    callback_options,
    check_iterator_options,
)
from eskernel.actors.supervision import ChildSpec
from eskernel.actors.tail import TailedLog
from eskernel.contracts import CheckpointStore, Clock, EventStore, HintingEventStore
from eskernel.errors import KernelStopped, UnknownProjection
from eskernel.leasing import new_owner
from eskernel.projections.bound import Bound, checkpoints_of
from eskernel.projections.callback_model import CallbackModel
from eskernel.projections.consumer import Consumer
from eskernel.projections.definition import Definition, Unpack
from eskernel.projections.options import Projection
from eskernel.projections.progress import Progress
from eskernel.projections.projector import Projector
from eskernel.projections.view import View
from eskernel.subscriptions import DurableFeed, Feed
from eskernel.subscriptions.arguments import checked_names, checked_number
from eskernel.values import Event


class ReadSide:
    """Starts what follows the log, and hands out what users see of it.

    Args:
        projections: by name.
        store: the log.
        checkpoints: where named subscriptions keep their position; None for the log's store.
        unpackers: by aggregate type, what decodes payloads.
        bell: rung after commits of this kernel.
        clock: for delays.
        timeout: seconds that callers wait for an actor.
    """

    def __init__(
        self,
        projections: Mapping[str, Bound],
        store: EventStore,
        checkpoints: CheckpointStore | None,
        unpackers: Mapping[str, Unpack],
        bell: Bell,
        clock: Clock,
        timeout: float,
    ) -> None:
        immediate = getattr(store, "immediate", False)  # and so as quickly read as a tail
        self._store = store if immediate else TailedLog(store, bell.tail)
        self._stores = (checkpoints, store)
        self._unpackers = unpackers
        self._bell = bell
        self._clock = clock
        self._timeout = timeout
        self.registry = Registry()
        self._owner = new_owner()
        self._numbers = itertools.count(1)
        self._names = Names()
        # Set before all that is registered is ended, looked at after registering: one closes it.
        self._over = False
        self._running = {name: self._project(bound) for name, bound in projections.items()}
        self._unhook = store.on_append(bell.ring) if isinstance(store, HintingEventStore) else None

    def projection(self, name: str) -> RunningProjection:
        """Return a projection; raises UnknownProjection if none is registered by that name."""
        try:
            return self._running[name]
        except (KeyError, TypeError):
            raise UnknownProjection(name, tuple(self._running)) from None

    def checked(self, names: Iterable[str]) -> list[RunningProjection]:
        """Return projections; raises TypeError and UnknownProjection."""
        if isinstance(names, str):
            raise TypeError(f"wait_for must be a tuple of names; write ({names!r},)")
        return [self.projection(name) for name in names]

    def subscribe(
        self,
        callback: Callable[[Event], Any] | None,
        name: str | None,
        from_position: int,
        types: Collection[str] | None,
        aggregate_types: Collection[str] | None,
        options: Mapping[str, Any],
    ) -> Subscription | RunningSubscription:
        """Start a subscription; see `Kernel.subscribe`."""
        if callback is None:
            check_iterator_options(name, options)
        elif not callable(callback):
            raise TypeError(f"a callback must be a function of an event, not {callback!r}")
        wanted = Wanted(
            checked_number("from_position", from_position, 0),
            checked_names("types", types),
            checked_names("aggregate_types", aggregate_types),
        )
        release = self._names.claim(name)
        subscription: Subscription | RunningSubscription
        try:
            if callback is None:
                subscription = self._iterate(name, wanted, release, **options)
            else:
                chosen = callback_options(options)
                subscription = self._call(callback, name, wanted, release, chosen)
        except BaseException:
            release()
            raise
        if self._over:
            subscription.close()
            raise KernelStopped("it was stopped; start() runs it again")
        return subscription

    def _iterate(
        self,
        name: str | None,
        wanted: Wanted,
        release: Callable[[], None],
        lease_seconds: float = 5.0,
    ) -> Subscription:
        hints = Hints(self._bell)
        try:
            feed = self._feed(name, wanted, hints, lease_seconds)
        except BaseException:
            hints.end()
            raise
        return Subscription(feed, hints, self._unpackers, self.registry, release)

    def _feed(
        self, name: str | None, wanted: Wanted, hints: Hints, lease_seconds: float
    ) -> Feed | DurableFeed:
        options: Any = {**wanted._asdict(), "wait": hints.wait}
        if name is None:
            return Feed(self._store, **options)
        key = f"subscription/{name}"
        # As a callback of that name would store it: a name may be used as either, in turn.
        start = Progress.beginning(wanted.from_position, VERSION).checkpoint(b"")
        return DurableFeed(
            self._store,
            checkpoints_of(key, self._stores),
            key,
            owner=f"{self._owner}/{next(self._numbers)}",
            lease_seconds=lease_seconds,
            clock=self._clock,
            version=start.version,
            notes=start.notes,
            **options,
        )

    def end(self) -> None:
        """Tell everybody who waits that nothing more will come."""
        self._over = True
        if self._unhook is not None:
            self._unhook()
        self.registry.end()

    def _project(self, bound: Bound) -> RunningProjection:
        view, post = View(), Post()

        def make() -> Projector:
            return Projector(
                bound.definition,
                bound.options,
                bound.new_model(),
                self._store,
                bound.store,
                bound.key,
                f"{self._owner}/{next(self._numbers)}",
                view,
                self._clock,
            )

        self._run(ProjectionActor, bound.key, view, post, make)
        return RunningProjection(bound, view, post, self._store, self._timeout)

    def _call(
        self,
        callback: Callable[[Event], Any],
        name: str | None,
        wanted: Wanted,
        release: Callable[[], None],
        options: Projection,
    ) -> RunningSubscription:
        number = next(self._numbers)
        child = f"subscription #{number}" if name is None else f"subscription/{name}"
        module = module_of(callback, wanted.types, wanted.aggregate_types)
        definition = Definition(name or child, module, self._unpackers)
        stores = (options.store, *self._stores)
        checkpoints = None if name is None else checkpoints_of(child, stores)
        closable = ClosableCallback(callback)
        model = CallbackModel(closable, checkpoints, child)
        view, post = View(), Post()

        def make() -> Consumer:
            consumer = Consumer(
                definition,
                options,
                model,
                self._store,
                checkpoints,
                child,
                f"{self._owner}/{next(self._numbers)}",
                view,
                self._clock,
                start=wanted.from_position,
            )
            model.is_ours = consumer.lease.is_valid
            return consumer

        self._run(SubscriptionActor, child, view, post, make)
        return RunningSubscription(
            name or f"#{number}",
            child,
            view,
            post,
            self._store,
            self._timeout,
            self.registry,
            closable,
            release,
        )

    def _run(
        self,
        actor: type[ConsumerActor],
        name: str,
        view: View,
        post: Post,
        make: Callable[[], Consumer],
    ) -> None:
        self.registry.add(ChildSpec(name, partial(actor.start, post, make, self._bell)), view)
