"""RunningSubscription: a callback that an actor calls with the events of the log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pykka

from eskernel.actors.consuming.registry import Registry
from eskernel.contracts import EventStore
from eskernel.errors import StoreUnavailable
from eskernel.projections.progress import Parked
from eskernel.projections.view import Status, View
from eskernel.values import Event

VERSION: Final = "callback"
"""Stored beside the position of a name."""


class Door:
    """The way to a callback, which nobody goes once it is shut.

    Args:
        callback: what is behind it.
    """

    def __init__(self, callback: Callable[[Event], Any]) -> None:
        self._callback = callback
        self._inside: int | None = None
        self.shut = False

    def __call__(self, event: Event) -> Any:
        """Call the callback; raises what it raises, and StoreUnavailable if the door is shut."""
        if self.shut:  # in the middle of a page; of this error no event is guilty
            raise StoreUnavailable("the subscription was closed; subscribe again to go on")
        self._inside = threading.get_ident()
        try:
            return self._callback(event)
        finally:
            self._inside = None

    def is_inside(self) -> bool:
        """Return whether the calling thread is running the callback."""
        return self._inside == threading.get_ident()


class RunningSubscription:
    """A callback that an actor calls with each event; see `Kernel.subscribe`.

    Args:
        name: of its actor.
        view: what the actor shows.
        store: the log.
        registry: what runs the actor.
        door: in front of the callback.
        on_close: called when it is closed and the actor has ended.
    """

    def __init__(
        self,
        name: str,
        view: View,
        store: EventStore,
        registry: Registry,
        door: Door,
        on_close: Callable[[], Any],
    ) -> None:
        self.name = name
        self._view = view
        self._store = store
        self._registry = registry
        self._door = door
        self._on_close = on_close

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
        """Let the present call end, store the position of a named one, and call no more.

        Closing twice is harmless. The callback may do it: then the rest happens when it returns.
        A call that hangs is waited for some seconds; another subscription of the name begins when
        its lease has run out.
        """
        if self._door.shut:
            return
        self._door.shut = True
        if self._door.is_inside():  # whose end cannot be waited for here
            threading.Thread(target=self._end, name=f"end of {self.name}", daemon=True).start()
        else:
            self._end()

    def _end(self) -> None:
        try:
            with suppress(pykka.Timeout):  # it hangs, and is left behind
                self._registry.remove(self.name)
        finally:
            self._view.become(Status.ENDED)
            self._on_close()

    def __enter__(self) -> RunningSubscription:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


def module_of(callback: Callable[[Event], Any], types: Any, aggregate_types: Any) -> type:
    """Return a callback as the module of a projection without state."""

    class Callback:
        version = VERSION
        event_types = types

        @staticmethod
        def init() -> None:
            return None

        @staticmethod
        def handle_event(event: Event, _state: None) -> Any:
            return callback(event)

    Callback.aggregate_types = aggregate_types  # type: ignore[attr-defined]
    return Callback
