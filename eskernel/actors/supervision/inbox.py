"""An inbox that closes in one step with its actor's death.

Pykka's `ask` checks `is_alive` and then puts; an actor that dies in between never answers. Here
the put itself decides, under the inbox's lock: either the actor will take the message, or the
sender is answered at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from pykka import ActorDeadError, ActorRef
from pykka._envelope import Envelope


class Exit(NamedTuple):
    """How an actor ended.

    Attributes:
        ref: the actor that ended.
        reason: None when it was asked to stop, else what killed it.
    """

    ref: ActorRef[Any]
    reason: BaseException | None


Watcher = Callable[[Exit], None]


class Inbox:
    """A queue of envelopes, first in, first out, and those who want to know when it ends.

    The lock is a bare one: `with` takes and releases it in single steps, so an asynchronous
    exception never leaves it held. A Condition's would be, as its `__enter__` is Python code.
    """

    def __init__(self) -> None:
        # Guards the three fields below: after `_exit` is set nothing enters `_waiting`, and each
        # watcher is called exactly once, by close() or by watch(). Taking a message needs no lock.
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Envelope[Any]] = SimpleQueue()
        self._watchers: list[Watcher] = []
        self._exit: Exit | None = None

    def put(
        self,
        envelope: Envelope[Any],
        /,
        block: bool = True,  # noqa: ARG002 - Pykka's signature; it never fills up
        timeout: float | None = None,  # noqa: ARG002
    ) -> None:
        """Queue a message; answer it with `ActorDeadError` if the actor has ended."""
        with self._lock:
            if self._exit is None:
                self._waiting.put(envelope)
                return
        refuse(envelope, "the actor has ended")

    def get(self, block: bool = True, timeout: float | None = None) -> Envelope[Any]:
        """Take the oldest message.

        Args:
            block: whether to wait for one.
            timeout: seconds to wait, or None for ever.

        Raises:
            queue.Empty: there was none in time.
        """
        return self._waiting.get(block, timeout)

    def qsize(self) -> int:
        """Return how many messages wait."""
        return self._waiting.qsize()

    def empty(self) -> bool:
        """Return whether no message waits."""
        return self._waiting.empty()

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher(exit)` called once when the actor ends, at once if it has."""
        with self._lock:
            if self._exit is None:
                self._watchers.append(watcher)
                return
        watcher(self._exit)

    def close(self, exit: Exit) -> tuple[list[Envelope[Any]], list[Watcher]]:
        """End it; the first call returns what was waiting and who must be told."""
        with self._lock:
            if self._exit is not None:
                return [], []
            self._exit = exit
            watchers, self._watchers = self._watchers, []
            waiting = []
            with suppress(Empty):
                while True:
                    waiting.append(self._waiting.get_nowait())
            return waiting, watchers


def refuse(envelope: Envelope[Any], why: str) -> None:
    """Answer a message that will not be handled, if anyone waits for it."""
    if envelope.reply_to is not None:
        error = ActorDeadError(why)
        envelope.reply_to.set_exception((ActorDeadError, error, None))


def watch(ref: ActorRef[Any], watcher: Watcher) -> None:
    """Have `watcher(exit)` called exactly once when a supervised actor ends.

    Args:
        ref: reference to a `SupervisedActor`.
        watcher: called on the ending actor's thread, or at once if it has ended.
    """
    inbox = ref.actor_inbox
    assert isinstance(inbox, Inbox), f"{ref} is not a SupervisedActor"
    inbox.watch(watcher)
