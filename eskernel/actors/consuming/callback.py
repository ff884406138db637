"""RunningSubscription: a callback that an actor calls with the events of the log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pykka

from eskernel.actors.consuming.actor import Post
from eskernel.actors.consuming.registry import Registry
from eskernel.actors.consuming.running import RunningConsumer
from eskernel.contracts import EventStore
from eskernel.errors import EskernelError, ProjectionBusy, StoreUnavailable
from eskernel.projections.view import Status, View
from eskernel.values import Event

VERSION: Final = "callback"
"""Stored beside the position of a name."""


class ClosableCallback:
    """A callback that is called no more once it is closed.

    Attributes:
        closed: whether it is; set by whoever closes it, on any thread.

    Args:
        callback: the user's.
    """

    def __init__(self, callback: Callable[[Event], Any]) -> None:
        self._callback = callback
        self._caller: int | None = None  # the thread in it
        self.closed = False

    def __call__(self, event: Event) -> Any:
        """Call the callback; raises what it raises, and StoreUnavailable once it is closed."""
        if self.closed:  # in the middle of a page; of this error no event is guilty
            raise StoreUnavailable("the subscription was closed; subscribe again to go on")
        self._caller = threading.get_ident()
        try:
            return self._callback(event)
        finally:
            self._caller = None

    def is_mine(self) -> bool:
        """Return whether the calling thread is running the callback."""
        return self._caller == threading.get_ident()


class RunningSubscription(RunningConsumer):
    """A callback that an actor calls with each event; see `Kernel.subscribe`.

    Args:
        name: what the user calls it, or a number.
        child: the name of its actor.
        view: what the actor shows.
        post: where it is.
        store: the log.
        timeout: seconds to wait for the actor, unless told otherwise.
        registry: what runs the actor.
        callback: what it calls.
        on_close: called when it is closed and the actor has ended.
    """

    def __init__(
        self,
        name: str,
        child: str,
        view: View,
        post: Post,
        store: EventStore,
        timeout: float,
        registry: Registry,
        callback: ClosableCallback,
        on_close: Callable[[], Any],
    ) -> None:
        super().__init__("subscription", name, view, post, store, timeout)
        self._child = child
        self._registry = registry
        self._callback = callback
        self._on_close = on_close

    def close(self) -> None:
        """Let the present call end, store the position of a named one, and call no more.

        Closing twice is harmless. The callback may do it: then the rest happens when it returns.
        A call that hangs is waited for some seconds; another subscription of the name begins when
        its lease has run out.
        """
        if self._callback.closed:
            return
        self._callback.closed = True
        if self._callback.is_mine():  # whose end cannot be waited for here
            threading.Thread(target=self._end, name=f"end of {self._child}", daemon=True).start()
        else:
            self._end()

    def _ended(self) -> EskernelError:
        if self._callback.closed:
            return ProjectionBusy(f"{self._title} was closed; subscribe again")
        return super()._ended()

    def _end(self) -> None:
        try:
            with suppress(pykka.Timeout):  # it hangs, and is left behind
                self._registry.remove(self._child)
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
