"""ConsumerActor: the thread of one projection, or of one subscription with a callback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from pykka import ActorRef
from pykka._envelope import Envelope

from eskernel.actors.bell import Bell, Listener
from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision import SupervisedActor
from eskernel.projections.consumer import Consumer
from eskernel.projections.view import Status

C = TypeVar("C", bound=Consumer)

_REST: Final = 0.005  # seconds
_LONGEST_REST: Final = 0.1
_SHARE: Final = 0.35
"""Of the interpreter's time, what all followers together may use while commands come in."""
_WORK: Final = object()
_NUDGE: Final[Envelope[Any]] = Envelope(_WORK)


class Call(Generic[C]):
    """A message: run a function on the consumer, between two of its steps.

    Args:
        function: gets the consumer; what it returns or raises is the reply.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[C], Any]) -> None:
        self.function = function


class Post:
    """Where an actor is found; outlives one that is restarted."""

    def __init__(self) -> None:
        self.ref: ActorRef[Any] | None = None
        self.thread: int | None = None


class ConsumerActor(SupervisedActor):
    """Steps a consumer: at once while there is more, else when told, or after its pause.

    While commands come in, it rests after each step: to find several events at the next, and, where
    it cannot keep up, so that all followers together leave most of the interpreter's time to the
    commands. Whoever waits for a position ends its rest.

    Args:
        post: where to announce itself.
        make: returns a new consumer, which begins with what is stored.
        bell: rung after commits.
    """

    def __init__(self, post: Post, make: Callable[[], Consumer], bell: Bell) -> None:
        super().__init__()
        self._post = post
        self._consumer = make()
        self._bell = bell
        self._rested = 0.0
        self._logged = (Status.STARTING, 0)
        self._listener = Listener(lambda: self._inbox.put(_NUDGE))

    def on_start(self) -> None:
        """Announce itself and look."""
        self._post.ref = self.actor_ref
        self._post.thread = threading.get_ident()
        self._bell.add(self._listener)
        self._consumer.view.urge = self._end_rest
        self.wake_at = time.monotonic()

    def _end_rest(self) -> None:
        """Called by whoever waits for a position, on his thread."""
        if self._rested > time.monotonic():
            self._rested = 0.0
            self._inbox.put(_NUDGE)

    def on_wake(self) -> None:
        """Take a step and plan the next."""
        listener = self._listener
        told, listener.told = listener.told, False
        begun, used = time.monotonic(), time.thread_time()
        pause = self._consumer.step()
        self._log_changes()
        now = time.monotonic()
        if (told or listener.told) and not self._consumer.view.is_awaited:
            used = time.thread_time() - used
            due = begun + used * len(self._bell.listeners) / _SHARE
            self._rested = self.wake_at = min(max(now + _REST, due), now + _LONGEST_REST)
        else:
            self._rested = now
            self.wake_at = now + pause

    def _log_changes(self) -> None:
        """Log once what has gone wrong since the last step."""
        view = self._consumer.view
        state = (view.status, len(view.parked))
        if state == self._logged:
            return
        (before, parked), self._logged = self._logged, state
        name = self._consumer.key
        if view.status is Status.STOPPED and before is not Status.STOPPED:
            log_and_go_on("error", "consumer_stopped", consumer=name, exc_info=view.error)
        elif view.status is Status.RETRYING and before is not Status.RETRYING:
            log_and_go_on("warning", "consumer_retries", consumer=name, error=view.error)
        if len(view.parked) > parked:
            newest = view.parked[-1]
            log_and_go_on(
                "warning",
                "event_parked",
                consumer=name,
                position=newest.position,
                error=newest.error,
            )

    def _handle_receive(self, message: Any) -> Any:
        if message is not _WORK:
            return super()._handle_receive(message)
        self.wake_at = max(time.monotonic(), self._rested)
        return None

    def on_receive(self, message: Any) -> Any:
        """Run a function on the consumer."""
        if not isinstance(message, Call):
            return super().on_receive(message)
        self.wake_at = time.monotonic()  # it may have made work
        return message.function(self._consumer)

    def on_stop(self) -> None:
        """Store what was handled, and let another process go on."""
        self._leave()
        try:
            self._consumer.release()
        except Exception as error:  # noqa: BLE001 - what is stored is right all the same
            log_and_go_on("warning", "consumer_not_released", actor=str(self), exc_info=error)
        finally:
            self._consumer.close()

    def on_failure(self, *_exc_info: Any) -> None:
        """Let go of everything; the next one begins with what is stored."""
        self._leave()
        try:
            self._consumer.abandon()
        except Exception as error:  # noqa: BLE001 - the lease will run out
            log_and_go_on("warning", "consumer_not_released", actor=str(self), exc_info=error)

    def _leave(self) -> None:
        self._bell.remove(self._listener)
        if self._post.thread == threading.get_ident():
            self._post.thread = None  # or who gets this number next would be taken for this one


class ProjectionActor(ConsumerActor):
    """The thread of a projection."""


class SubscriptionActor(ConsumerActor):
    """The thread of a subscription with a callback."""
