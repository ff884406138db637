"""Call: a request on its way, and where its outcome goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from eskernel.actors.aggregate.replies import AnyReply, CommandFuture
from eskernel.remote.wire import Ask
from eskernel.values import Command


class Call:
    """One request to another process; answered once.

    Attributes:
        request: a command, or a question.
        reply: where the outcome goes; a link claims it, by itself, before it sends the request.
        expires: until when it waits for a process, on the monotonic clock.
        number: of the request, given by the link.
        data: the request as bytes, made by the link.
        tries: how often it was sent.
        wanted: whether it may still be sent; False once it is withdrawn.
    """

    __slots__ = ("data", "expires", "number", "reply", "request", "tries", "wanted")

    def __init__(self, request: Command | Ask, reply: AnyReply, expires: float) -> None:
        self.request = request
        self.reply = reply
        self.expires = expires
        self.number = -1
        self.data = b""
        self.tries = 0
        self.wanted = True

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when it is unknown what became of it."""
        request = self.request
        return not isinstance(request, Command) or request.command_id is not None


class CallFuture(CommandFuture):
    """A future that is the reply to its own call: a link alone claims it, before it sends the call.

    Args:
        hand_over: see `CommandFuture`.
    """

    quick = False

    def __init__(self, hand_over: Callable[[Callable[[], Any]], None]) -> None:
        super().__init__(hand_over)
        self._begun: bool | None = None  # not claimed yet

    def claim(self, by: object) -> bool:  # noqa: ARG002 - a link claims it, and no other
        """Return whether it was not cancelled before."""
        if self._begun is None:  # a future can be asked once only
            self._begun = self.set_running_or_notify_cancel()
        return self._begun

    def resolve(self, outcome: Any) -> None:
        """Complete it, unless it was cancelled."""
        if not self.claim(self):
            return
        if isinstance(outcome, BaseException):
            self.set_exception(outcome)
        else:
            self.set_result(outcome)


class Link(Protocol):
    """The way to one kernel in another process, or to its successor; threads share it."""

    def post(self, call: Call) -> None:
        """Send a call, or keep it until it can be sent; its reply is resolved once, later.

        Calls of one thread are begun in order.

        Raises:
            NotStorable: it cannot be packed; nothing was sent.
            Overloaded: too many are under way.
            KernelStopped: the link is closed.
        """
        ...

    def withdraw(self, call: Call) -> None:
        """Have a command not begun if it has not been yet; resolves it with DispatchTimeout.

        Its `started` is False for one that never begins, and True for one that may still finish.
        Does nothing for a call that is resolved already.
        """
        ...
