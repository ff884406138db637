"""RunningConsumer: what a user sees and can do of a projection, or of a callback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pykka

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.consuming.actor import Call, Post
from eskernel.actors.supervision import ask
from eskernel.contracts import EventStore
from eskernel.errors import (
    DispatchTimeout,
    EskernelError,
    KernelStopped,
    NotProjected,
    ReentrantDispatch,
)
from eskernel.projections.progress import Parked
from eskernel.projections.view import Status, View
from eskernel.values import Accepted

_LOOK_AGAIN: Final = 0.005  # seconds


class RunningConsumer:
    """A follower of the log in a running kernel; every method is thread-safe.

    Attributes:
        name: what the user calls it.

    Args:
        kind: what it is, in a word.
        name: what the user calls it.
        view: what its actor shows.
        post: where its actor is.
        store: the log.
        timeout: seconds to wait for the actor, unless told otherwise.
    """

    def __init__(
        self, kind: str, name: str, view: View, post: Post, store: EventStore, timeout: float
    ) -> None:
        self.name = name
        self._title = f"{kind} {name!r}"
        self._view = view
        self._post = post
        self._store = store
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<{self._title}: {self._view.status.value}, at {self._view.position}>"

    @property
    def position(self) -> int:
        """Everything up to this position was handled, and what was made of it is visible."""
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
        """What has failed, with a note on the event it met; None when all is well."""
        return self._view.error

    @property
    def active(self) -> bool:
        """Whether this process holds its lease; of all processes, one does."""
        return self._view.active

    @property
    def parked(self) -> tuple[Parked, ...]:
        """The events that were put aside because they failed."""
        return self._view.parked

    def wait_for(
        self,
        position: int | None = None,
        timeout: float | None = None,
        *,
        accepted: Accepted | None = None,
    ) -> None:
        """Return when everything up to a position was handled.

        Args:
            position: of the log, for example `Accepted.position`; None for the newest there is.
            timeout: seconds to wait; None for the kernel's `dispatch_timeout`.
            accepted: the outcome whose events are waited for, to be told in the error.

        Raises:
            NotProjected: it was not in time, or this one has stopped before it.
            KernelStopped: the kernel was stopped.
            TypeError: the position is no number.
        """
        seconds = self._timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        view = self._view
        if position is None:
            position = self._store.last_position()
        elif not isinstance(position, int):
            raise TypeError(
                f"a position is a whole number, such as Accepted.position: {position!r}"
            )
        if view.wait_for(position, seconds):
            return
        if view.status is Status.ENDED:
            raise self._ended()
        why = f"did not see position {position} within {seconds:.3g} s"
        if view.status is Status.STOPPED:
            why = (
                f"has stopped before position {position}: {view.error!r}; "
                "mend it and start again, or call resume()"
            )
        raise NotProjected(
            f"{self._title} {why}; it is at {view.position}"
            + ("" if accepted is None else "; the command's events are stored"),
            self.name,
            position,
            view.position,
            accepted,
        ) from view.error

    def retry(self, position: int) -> None:
        """Handle a parked event now, after all that was handled since.

        Raises:
            LookupError: no event is parked at this position.
            ProjectionBusy: another process holds the lease.
            Exception: whatever the handler raises; the event stays parked.
        """
        self._ask(lambda consumer: consumer.retry_parked(position))

    def discard(self, position: int) -> None:
        """Give a parked event up; raises LookupError and ProjectionBusy as `retry`."""
        self._ask(lambda consumer: consumer.discard_parked(position))

    def resume(self) -> None:
        """Have one that has stopped try its event again."""
        self._ask(lambda consumer: consumer.resume())

    def _ended(self) -> EskernelError:
        """Return the error for what is asked after the end."""
        return KernelStopped(f"{self._title} has ended with it")

    def _ask(self, function: Callable[[Any], Any], timeout: float | None = None) -> Any:
        """Have the actor run a function; one that is being restarted is waited for."""
        seconds = self._timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        if threading.get_ident() == self._post.thread:
            raise ReentrantDispatch(
                f"{self._title} asked for itself, in a handler of its own; do it on another "
                "thread, without waiting for that here"
            )
        deadline = time.monotonic() + seconds
        while self._view.status is not Status.ENDED:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            ref = self._post.ref
            if ref is not None:
                try:
                    return ask(ref, Call(function), left)
                except pykka.ActorDeadError:
                    pass
                except pykka.Timeout:
                    break
            time.sleep(_LOOK_AGAIN)
        else:
            raise self._ended()
        raise DispatchTimeout(
            f"{self._title} did not answer within {seconds:g} s: a handler takes long, or hangs; "
            "what was asked may be done all the same",
            started=True,
        )
