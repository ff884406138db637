"""ReadSide: the projections and subscriptions of one running kernel."""

from __future__ import annotations

import itertools
import os
import platform
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from eskernel.actors.bell import Bell
from eskernel.actors.consuming.actor import ConsumerActor, Post, ProjectionActor, SubscriptionActor
from eskernel.actors.consuming.projecting import RunningProjection
from eskernel.actors.consuming.registry import Registry
from eskernel.actors.consuming.subscribing import (
    Hints,
    RunningSubscription,
    Subscription,
    module_of,
)
from eskernel.actors.supervision import ChildSpec
from eskernel.contracts import CheckpointStore, Clock, EventStore, HintingEventStore
from eskernel.errors import UnknownProjection
from eskernel.projections.bound import Bound, checkpoints_of
from eskernel.projections.callback_model import CallbackModel
from eskernel.projections.consumer import Consumer
from eskernel.projections.definition import Definition, Unpack
from eskernel.projections.options import Projection
from eskernel.projections.projector import Projector
from eskernel.projections.view import View
from eskernel.subscriptions import Feed
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
        self._store = store
        self._checkpoints = checkpoints
        self._unpackers = unpackers
        self._bell = bell
        self._clock = clock
        self.registry = Registry()
        self._owner = f"{platform.node()[:100]}/{os.getpid()}/{uuid.uuid4()}"
        self._numbers = itertools.count(1)
        self._running = {name: self._project(bound, timeout) for name, bound in projections.items()}
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
        if callback is not None:
            chosen = Projection(None, **options)
            return self._call(callback, name, from_position, types, aggregate_types, chosen)
        hints = Hints(self._bell)
        try:
            feed = Feed(
                self._store,
                from_position=from_position,
                types=types,
                aggregate_types=aggregate_types,
                wait=hints.wait,
            )
        except BaseException:
            hints.end()
            raise
        return Subscription(feed, hints, self._unpackers, self.registry)

    def end(self) -> None:
        """Tell everybody who waits that nothing more will come."""
        if self._unhook is not None:
            self._unhook()
        self.registry.end()

    def _project(self, bound: Bound, timeout: float) -> RunningProjection:
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
        return RunningProjection(bound, view, post, self._store, timeout)

    def _call(
        self,
        callback: Callable[[Event], Any],
        name: str | None,
        from_position: int,
        types: Collection[str] | None,
        aggregate_types: Collection[str] | None,
        options: Projection,
    ) -> RunningSubscription:
        child = f"subscription/{name or next(self._numbers)}"
        module = module_of(callback, types, aggregate_types)
        definition = Definition(child, module, self._unpackers)
        checkpoints = None
        if name is not None:
            stores = (options.store, self._checkpoints, self._store)
            checkpoints = checkpoints_of(child, stores)
        model = CallbackModel(callback, checkpoints, child)
        view, post = View(), Post()

        def make() -> Consumer:
            return Consumer(
                definition,
                options,
                model,
                self._store,
                checkpoints,
                child,
                f"{self._owner}/{next(self._numbers)}",
                view,
                self._clock,
                start=from_position,
            )

        self._run(SubscriptionActor, child, view, post, make)
        return RunningSubscription(child, view, self._store, self.registry)

    def _run(
        self,
        actor: type[ConsumerActor],
        name: str,
        view: View,
        post: Post,
        make: Callable[[], Consumer],
    ) -> None:
        start = partial(actor.start, post, make, self._bell)
        self.registry.add(ChildSpec(name, start), view)
