"""Supervisor: starts children in order, restarts them by its strategy, stops them in reverse.

The model is Erlang/OTP's supervisor, with restarts delayed by a backoff instead of immediate.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from pykka import ActorRef

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision.actor import SupervisedActor, tell_if_alive
from eskernel.actors.supervision.backoff import Backoff
from eskernel.actors.supervision.inbox import Exit, watch
from eskernel.actors.supervision.spec import ChildSpec, Restart, Strategy
from eskernel.errors import EskernelError


class RestartLimitExceeded(EskernelError):
    """Children kept failing; the supervisor gives up and its own supervisor decides.

    Attributes:
        child: name of the child whose exit was one too many.
        reason: what ended it.
    """

    def __init__(self, child: str, intensity: int, period: float, reason: Any) -> None:
        super().__init__(
            f"{child!r} ended again after {intensity} restarts in {period} seconds; "
            f"last reason: {reason!r}"
        )
        self.child = child
        self.reason = reason


class ChildInfo(NamedTuple):
    """A child as its supervisor sees it.

    Attributes:
        name: as in its spec.
        ref: reference to the running actor, or None while it waits for its restart.
        restarts: how many times it was restarted.
    """

    name: str
    ref: ActorRef[Any] | None
    restarts: int


class _Child:
    __slots__ = ("due", "ref", "restarts", "spec")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.ref: ActorRef[Any] | None = None
        self.restarts = 0
        self.due = False
        """Whether it waits for its restart."""


class Supervisor(SupervisedActor):
    """A supervised actor whose work is other supervised actors.

    More than `intensity` restarts within `period` seconds end it with `RestartLimitExceeded`,
    which its own supervisor meets as the failure of a child: that is escalation. However it ends,
    its children end first.

    Args:
        specs: the children, in start order.
        strategy: which children restart along with one that must.
        intensity: restarts allowed within `period`.
        period: seconds.
        backoff: delay before a restart, growing with the restarts within `period`.
        seed: of the jitter; None for a random one.
    """

    def __init__(
        self,
        specs: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 3,
        period: float = 5.0,
        backoff: Backoff = Backoff(),  # noqa: B008 - immutable
        seed: int | None = None,
    ) -> None:
        super().__init__()
        # Only this actor's thread touches the fields below.
        self._children: dict[str, _Child] = {}
        self._specs = list(specs)
        self._strategy = strategy
        self._intensity = intensity
        self._period = period
        self._backoff = backoff
        self._rng = random.Random(seed)  # noqa: S311 - jitter
        self._recent: deque[float] = deque()

    def on_start(self) -> None:
        """Start the children in order."""
        for spec in self._specs:
            self._add(spec).due = True
        self.on_wake()

    def on_receive(self, message: Any) -> Any:
        """Take the exits of children."""
        if isinstance(message, RestartLimitExceeded):
            raise message
        return self._on_exit(message) if isinstance(message, Exit) else super().on_receive(message)

    def on_stop(self) -> None:
        """Stop the children, last started first, each within its deadline."""
        self._stop_children(list(self._children.values()))

    def on_failure(self, *_exc_info: Any) -> None:
        """Stop the children as well: a child never outlives its supervisor."""
        self.on_stop()

    def start_child(self, spec: ChildSpec) -> ActorRef[Any] | None:
        """Start one more child.

        Returns:
            Its reference; None if it could not be started.

        Raises:
            ValueError: a child of that name exists.
        """
        child = self._add(spec)
        try:
            self._start(child)
        except RestartLimitExceeded as error:
            # Whoever asked would get it, and an ask ends no actor: so tell it to ourselves.
            self.actor_ref.tell(error)
        return child.ref

    def stop_child(self, name: str) -> None:
        """Stop a child and forget it.

        Raises:
            KeyError: there is none of that name.
        """
        self._stop_children([self._children[name]])
        self._children.pop(name, None)

    def children(self) -> list[ChildInfo]:
        """Return the children in start order."""
        return [
            ChildInfo(name, child.ref, child.restarts) for name, child in self._children.items()
        ]

    def _add(self, spec: ChildSpec) -> _Child:
        if spec.name in self._children:
            raise ValueError(f"there is a child {spec.name!r} already; names are unique")
        child = self._children[spec.name] = _Child(spec)
        return child

    def _start(self, child: _Child) -> None:
        try:
            ref = child.spec.start()
        except BaseException as error:  # noqa: BLE001 - a failure of the child, not ours
            log_and_go_on("error", "child_failed_to_start", child=child.spec.name, exc_info=error)
            self._plan_or_forget(child, error)
            return
        child.ref = ref
        watch(ref, self._hear)

    def _hear(self, ended: Exit) -> None:
        """Runs on the thread of the child that ended."""
        tell_if_alive(self.actor_ref, ended)

    def _on_exit(self, ended: Exit) -> None:
        child = next((child for child in self._children.values() if child.ref is ended.ref), None)
        if child is None:  # stopped by us, or replaced since
            return
        child.ref = None
        log_and_go_on("info", "child_ended", child=child.spec.name, reason=ended.reason)
        self._plan_or_forget(child, ended.reason)

    def _plan_or_forget(self, child: _Child, reason: BaseException | None) -> None:
        if child.spec.restart.wanted(reason):
            self._plan(child, reason)
        elif child.spec.restart is Restart.TEMPORARY:
            del self._children[child.spec.name]

    def _plan(self, child: _Child, reason: BaseException | None) -> None:
        """Stop those that must restart along with the child, and set the time for all of them."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - self._period:
            self._recent.popleft()
        if len(self._recent) >= self._intensity:
            raise RestartLimitExceeded(child.spec.name, self._intensity, self._period, reason)
        self._recent.append(now)
        child.restarts += 1
        child.due = True
        self._stop_along_with(child)
        due = now + self._backoff.delay(len(self._recent), self._rng)
        self.wake_at = due if self.wake_at is None else max(due, self.wake_at)

    def _stop_along_with(self, child: _Child) -> None:
        children = list(self._children.values())
        if self._strategy is Strategy.ONE_FOR_ONE:
            return
        if self._strategy is Strategy.REST_FOR_ONE:
            children = children[children.index(child) :]
        running = [other for other in children if other.ref is not None]
        self._stop_children(running)
        for other in running:
            other.due = other.spec.restart is not Restart.TEMPORARY

    def on_wake(self) -> None:
        """Start, in order, every child that waits for its restart."""
        for child in [child for child in self._children.values() if child.due]:
            child.due = False
            self._start(child)
            if child.due and self._strategy is not Strategy.ONE_FOR_ONE:
                return  # those after it wait for it

    def _stop_children(self, children: list[_Child]) -> None:
        for child in reversed(children):
            ref, child.ref = child.ref, None
            if ref is not None and not stop_and_wait(ref, child.spec.shutdown):
                log_and_go_on(
                    "error",
                    "child_outlived_shutdown",
                    child=child.spec.name,
                    seconds=child.spec.shutdown,
                )
            if child.spec.restart is Restart.TEMPORARY:
                self._children.pop(child.spec.name, None)


def stop_and_wait(ref: ActorRef[Any], timeout: float) -> bool:
    """Ask an actor to stop and wait for its very end.

    Args:
        ref: reference to a `SupervisedActor`.
        timeout: seconds to wait.

    Returns:
        Whether it ended in time.
    """
    ended = threading.Event()
    watch(ref, lambda _exit: ended.set())
    ref.stop(block=False)
    return ended.wait(timeout)
