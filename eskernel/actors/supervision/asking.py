"""Asking an actor, so that whatever interrupts the one who asks does no harm to the actor.

Pykka's `ask` answers through a `threading.Condition`, whose lock an asynchronous exception can
leave held: the actor would then hang in its answer.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Any

import pykka
from pykka import ActorRef
from pykka._envelope import Envelope


class _Answer:
    """What an actor needs of a Pykka future."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def set(self, value: Any = None) -> None:
        self.told.put((value, None))

    def set_exception(self, exc_info: tuple[Any, BaseException, Any]) -> None:
        self.told.put((None, exc_info[1]))


def ask(ref: ActorRef[Any], message: Any, timeout: float) -> Any:
    """Have an actor handle a message, and return its answer.

    Args:
        ref: reference to a `SupervisedActor`.
        message: what it is sent.
        timeout: seconds to wait for the answer.

    Raises:
        pykka.ActorDeadError: it has ended, or ends before it handles the message.
        pykka.Timeout: no answer in time; the message may be handled all the same.
        Exception: whatever the actor raises.
    """
    answer = _Answer()
    ref.actor_inbox.put(Envelope(message, reply_to=answer))  # type: ignore[arg-type]  # see _Answer
    try:
        value, error = answer.told.get(timeout=timeout)
    except Empty:
        raise pykka.Timeout(f"{timeout} seconds") from None
    if error is not None:
        raise error
    return value
