"""Turns: who runs which aggregate actor right now.

An aggregate actor has no thread. Whoever runs it owns it for a moment, and ownership is one entry
in a dictionary shared by the kernel's threads.

Invariants:

- A thread runs an actor only while `owners[actor]` is that thread's turn, so an actor handles one
  message at a time.
- `owners.setdefault(actor, turn) is turn` takes it and `del owners[actor]` releases it. Each is one
  step for the interpreter, so an asynchronous exception finds it done or not begun, and
  `owners.get(actor) is turn` tells which.
- A message is put into the mailbox before its sender looks at `owners`, and an owner looks into the
  mailbox after it has released. So for a message in a mailbox there is always an owner or a job.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eskernel.actors.aggregate.replies import AnyReply
    from eskernel.actors.aggregate.requests import Request


class Turn:
    """One thread's right to run actors.

    Attributes:
        running: whether domain code may be on this thread's stack, so that a call back into the
            kernel must be refused.
        ours: whether the thread is one of the kernel's, which nothing interrupts from outside.
        answers: replies to give once the actor is released, with their outcomes.
        message: the queued request the thread is handling, or None.
        own: the request whose outcome the thread waits for, or the last such.
        mark: the actor's `tried` when it began; another value now means that it has appended.
    """

    __slots__ = ("answers", "mark", "message", "ours", "own", "running")

    def __init__(self) -> None:
        self.running = False
        self.ours = False
        self.answers: deque[tuple[AnyReply, Any]] = deque()
        self.message: Request | None = None
        self.own: Request | None = None
        self.mark = 0

    def answers_already(self, reply: AnyReply) -> bool:
        """Return whether an answer to this reply is to be given."""
        return any(one is reply for one, _ in self.answers)

    def give_answers(self, elsewhere: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Complete the replies; safe to repeat, and to be interrupted.

        Args:
            elsewhere: has another thread call what it is given; for replies that may run anybody's
                code, or could not stand an interruption. None: complete them all here.
        """
        answers = self.answers
        while answers:
            reply, outcome = answers[0]
            if elsewhere is None or reply.quick:
                reply.resolve(outcome)
            else:
                elsewhere(partial(reply.resolve, outcome))
            # Two threads never share a turn, but a callback may have come here again.
            if answers and answers[0][0] is reply:
                answers.popleft()


class Turns(threading.local):
    """The turn of the current thread, as the attribute `mine`."""

    def __init__(self) -> None:
        self.mine = Turn()
