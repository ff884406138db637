"""Subscriptions of a kernel: an iterator, or a callback run by an actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Self

from eskernel.actors.bell import Bell, Listener
from eskernel.actors.consuming.registry import Registry
from eskernel.contracts import EventStore
from eskernel.projections.definition import Unpack
from eskernel.projections.progress import Parked
from eskernel.projections.view import Status, View
from eskernel.subscriptions import Feed
from eskernel.values import Event


class Hints:
    """Waits for a commit of this kernel's, or until the time is over.

    Args:
        bell: rung after commits.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._told: SimpleQueue[None] = SimpleQueue()
        self._listener = Listener(lambda: self._told.put(None))
        bell.add(self._listener)

    def wait(self, seconds: float) -> None:
        """Return when something was committed since the last wait, or after so many seconds."""
        with suppress(Empty):
            self._told.get(timeout=seconds)
        self._listener.told = False

    def end(self) -> None:
        """End the present wait, and listen no more."""
        self._bell.remove(self._listener)
        self._told.put(None)


class Subscription:
    """The log as an iterator: what is there, then what comes; see `Kernel.subscribe`.

    Any number of threads may iterate; each event goes to one of them. At most one page of events is
    in memory: who reads slowly lets the log wait.

    Args:
        feed: where the events come from.
        hints: what shortens its waits.
        unpackers: by aggregate type, what decodes payloads.
        registry: closes it when the kernel stops.
    """

    def __init__(
        self, feed: Feed, hints: Hints, unpackers: Mapping[str, Unpack], registry: Registry
    ) -> None:
        self._feed = feed
        self._hints = hints
        self._unpackers = unpackers
        self._registry = registry
        registry.on_end(self, self.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self._read(next(self._feed))

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event.

        Args:
            timeout: seconds to wait for it at most; None for no limit.

        Returns:
            The event; None if there is none in time, or the subscription was closed.

        Raises:
            StoreUnavailable: the store could not be reached, and the time is over.
            CorruptStore: the next event is damaged.
        """
        event = self._feed.next(timeout)
        return None if event is None else self._read(event)

    def _read(self, event: Event) -> Event:
        unpack = self._unpackers.get(event.stream_id[0])
        return event if unpack is None else event.read_with(unpack)

    @property
    def position(self) -> int:
        """The last position handed out or passed over."""
        return self._feed.position

    @property
    def closed(self) -> bool:
        """Whether it was closed, by `close` or with the kernel."""
        return self._feed.closed

    def close(self) -> None:
        """End the iteration, of threads that wait in it too; closing twice is harmless."""
        self._registry.forget(self)
        self._feed.close()
        self._hints.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


class RunningSubscription:
    """A callback that an actor calls with each event; see `Kernel.subscribe`.

    Args:
        name: of its actor.
        view: what the actor shows.
        store: the log.
        registry: what runs the actor.
    """

    def __init__(self, name: str, view: View, store: EventStore, registry: Registry) -> None:
        self.name = name
        self._view = view
        self._store = store
        self._registry = registry

    @property
    def position(self) -> int:
        """The callback was called with every matching event up to this position."""
        return self._view.position

    @property
    def lag(self) -> int:
        """How many positions the log is ahead; reads the log's newest position."""
        return max(0, self._store.last_position() - self._view.position)

    @property
    def status(self) -> Status:
        """What it is doing."""
        return self._view.status

    @property
    def error(self) -> Exception | None:
        """What has failed; None when all is well."""
        return self._view.error

    @property
    def parked(self) -> tuple[Parked, ...]:
        """The events that were put aside because the callback failed."""
        return self._view.parked

    def wait_for(self, position: int, timeout: float = 5.0) -> bool:
        """Wait until the callback was called with everything up to a position.

        Args:
            position: of the log.
            timeout: seconds to wait at most.

        Returns:
            Whether it was.
        """
        return self._view.wait_for(position, timeout)

    def close(self) -> None:
        """Let the present call end, store the position of a named one, and call no more."""
        self._registry.remove(self.name)

    def __enter__(self) -> RunningSubscription:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


def module_of(callback: Callable[[Event], Any], types: Any, aggregate_types: Any) -> type:
    """Return a callback as the module of a projection without state."""

    class Callback:
        version = "callback"
        event_types = types

        @staticmethod
        def init() -> None:
            return None

        @staticmethod
        def handle_event(event: Event, _state: None) -> Any:
            return callback(event)

    Callback.aggregate_types = aggregate_types  # type: ignore[attr-defined]
    return Callback
