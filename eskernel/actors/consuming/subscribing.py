"""Subscription: the log as an iterator, with the payloads of the kernel's domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Self

from eskernel.actors.bell import Bell, Listener
from eskernel.actors.consuming.registry import Registry
from eskernel.projections.definition import Unpack
from eskernel.projections.options import Projection
from eskernel.subscriptions import DurableFeed, Feed
from eskernel.subscriptions.arguments import checked_name
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
    in memory: who reads slowly lets the log wait. One with a name stores its position, and of all
    with that name one is active; see `eskernel.subscriptions.DurableFeed`.

    Args:
        feed: where the events come from.
        hints: what shortens its waits.
        unpackers: by aggregate type, what decodes payloads.
        registry: closes it when the kernel stops.
        on_close: called when it is closed.
    """

    def __init__(
        self,
        feed: Feed | DurableFeed,
        hints: Hints,
        unpackers: Mapping[str, Unpack],
        registry: Registry,
        on_close: Callable[[], Any] = lambda: None,
    ) -> None:
        self._feed = feed
        self._hints = hints
        self._unpackers = unpackers
        self._registry = registry
        self._on_close = on_close
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
            The event; None if there is none in time, another one of the name is active, or this
            one was closed.

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
    def acknowledged(self) -> int:
        """The position up to which all is dealt with: who got an event has asked for the next."""
        return self._feed.acknowledged

    @property
    def closed(self) -> bool:
        """Whether it was closed, by `close` or with the kernel."""
        return self._feed.closed

    def close(self) -> None:
        """End the iteration, of threads that wait in it too; closing twice is harmless.

        One with a name stores what was dealt with; an event after which no other was asked for
        comes again.
        """
        self._registry.forget(self)
        self._feed.close()
        self._hints.end()
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


class Wanted(NamedTuple):
    """Which events a subscription is for, as in `Kernel.subscribe`, checked."""

    from_position: int
    types: frozenset[str] | None
    aggregate_types: frozenset[str] | None


class Names:
    """The names that subscriptions of a kernel have, each once at a time."""

    def __init__(self) -> None:
        self._claims: dict[str, object] = {}  # each is there in one step, and gone in one

    def claim(self, name: str | None) -> Callable[[], None]:
        """Take a name; None needs none.

        Returns:
            A function that gives it back; harmless when called twice.

        Raises:
            ValueError: it is in use, or not one that can be kept.
            TypeError: it is no string.
        """
        if name is None:
            return lambda: None
        claim = object()
        if self._claims.setdefault(checked_name(name), claim) is not claim:
            raise ValueError(
                f"this kernel has a subscription {name!r} already: close that first; "
                "or share it, if it is an iterator, among threads"
            )
        return lambda: self._give_back(name, claim)

    def _give_back(self, name: str, claim: object) -> None:
        if self._claims.get(name) is claim:
            del self._claims[name]


def check_iterator_options(name: str | None, options: Mapping[str, Any]) -> None:
    """Raise TypeError if these are not options of an iterator."""
    fitting = () if name is None else ("lease_seconds",)
    wrong = ", ".join(option for option in options if option not in fitting)
    if wrong:
        raise TypeError(
            f"{wrong}: not an option of an iterator; with a name it has lease_seconds, and the "
            "options of Projection are for a callback"
        )


def callback_options(options: Mapping[str, Any]) -> Projection:
    """Return how a callback is run.

    Raises:
        TypeError: these are not options of a callback.
        ValueError: one of them is out of its range.
    """
    fitting = [field.name for field in fields(Projection) if field.name != "module"]
    wrong = ", ".join(option for option in options if option not in fitting)
    if wrong:
        raise TypeError(f"{wrong}: not an option of a callback; it has {', '.join(fitting)}")
    return Projection(None, **options)
