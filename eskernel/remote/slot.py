"""Slot: a place in the routing table, and the calls to whichever process fills it.

Invariants:

- A call is in `_waiting` until it is sent, then in `_sent` until it is answered. It enters `_sent`
  before its bytes leave, so no answer comes too early.
- Only the sender of a way moves calls from `_waiting` to `_sent`, or back if they were refused; it
  has ended before `lose` sorts out what that way left, and before the next way serves.
- Whoever takes a call out of `_waiting` or `_sent`, in one step of either, has it for itself: so
  it is answered once.
- A call is claimed for the slot before it is sent. Who withdraws a call claims it for itself, and
  so it is sent or withdrawn, never both.
- A command that is sent for the last time is alone: if the process ends once more, it is to blame,
  and no other command is given up along with it.
- What a later process did not do, an earlier one may have done: such an answer is told as unknown.
- What a process that leaves has not done is kept in `_sent`, for `lose` to pass on.

A little longer than most modules, for these are one argument.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from eskernel.errors import DispatchTimeout, KernelStopped, Overloaded, StoreUnavailable
from eskernel.remote.calls import Call
from eskernel.remote.unanswered import (
    MAX_TRIES,
    goes_alone,
    is_command,
    is_for_the_next,
    lost,
    may_finish,
    never_begun,
    of_all_tries,
)
from eskernel.remote.wire import LEAVING, Wire, parts_of
from eskernel.values import Command


class Way(Protocol):
    """The way to one process; it takes what there is to be sent when it is told to look."""

    def start_sending(self, take: Callable[[int], list[bytes]], name: str, /) -> None:
        """Have a thread call `take` with the most parts it wants, and send what that returns."""
        ...

    def tell(self) -> None:
        """Have that thread look."""
        ...


class Slot:
    """A `Link` to one process, or to its successor.

    Args:
        wire: of the domains.
        limit: calls that may be under way.

    Attributes:
        down: why there is no process just now; for messages.
    """

    def __init__(self, wire: Wire, limit: int) -> None:
        self._wire = wire
        self._limit = limit
        self._waiting: deque[Call] = deque()
        self._sent: dict[int, Call] = {}
        self._controls: deque[bytes] = deque()  # go out before calls do
        self._next_number = itertools.count(1).__next__
        self._way: Way | None = None
        self._refusal: str | None = None
        # Whether some that wait go alone; they are the first of the commands that wait.
        self._careful = False
        self._leaving = False  # whether the present process has said so
        self.down = "it is being started"

    # For callers.

    def post(self, call: Call) -> None:
        """Send a call, or keep it until there is a process; see `Link`."""
        if self._refusal is not None:
            raise KernelStopped(self._refusal)
        if len(self._waiting) + len(self._sent) >= self._limit:
            raise Overloaded(
                f"{self._limit} calls to one process are under way; slow down, or raise "
                "in_flight_limit"
            )
        number = call.number = self._next_number()
        request = call.request
        if isinstance(request, Command):
            call.data = self._wire.pack_command(number, request)
        else:
            call.data = self._wire.pack_ask(number, request)
        self._waiting.append(call)
        way = self._way
        if way is not None:
            way.tell()
        if self._refusal is not None:
            self._refuse_waiting()  # whoever closed it may have looked too early

    def withdraw(self, call: Call) -> None:
        """Have a command not begun if it has not been yet; see `Link`."""
        call.wanted = False
        way = self._way
        if call.reply.claim(call):
            call.reply.resolve(self._never_begun())
        elif way is not None and isinstance(call.request, Command):
            # It was claimed for a batch that has left, or leaves before this does.
            self._controls.append(self._wire.pack_withdrawal(call.number))
            way.tell()
        elif self._take_out(call):
            call.reply.resolve(may_finish())

    def under_way(self) -> int:
        """Return how many calls wait, or wait for their answers."""
        return len(self._waiting) + len(self._sent)

    # For the one who minds the process.

    def serve(self, way: Way) -> None:
        """Send by this way from now on."""
        self._leaving = False
        self._way = way
        way.start_sending(self._take, "eskernel-sender")
        way.tell()

    def stop(self, seconds: float) -> None:
        """Have the process stop, once what it has been sent has ended or so many seconds pass."""
        self._controls.append(self._wire.pack_stop(seconds))
        way = self._way
        if way is not None:
            way.tell()

    def hear(self, frame: bytes) -> bool:
        """Take the replies of a frame; on the way's receiving thread.

        Returns:
            Whether the process says that it leaves.
        """
        leaves = False
        for reply in parts_of(frame):
            call = self._sent.pop(reply[0], None)
            if call is not None:
                outcome = of_all_tries(call, self._outcome(call, reply))
                if self._leaving and is_for_the_next(call, outcome):
                    if isinstance(outcome, KernelStopped):
                        call.tries -= 1  # this one did not count
                    self._sent[call.number] = call  # `lose` has the next process do it
                else:
                    call.reply.resolve(outcome)
            elif reply[1] == LEAVING:
                leaves = self._leaving = True
        way = self._way
        if self._careful and way is not None:
            way.tell()  # what waits until it is alone may go
        return leaves

    def lose(self, why: str) -> None:
        """Sort out what its way left; its process is dead and its sender has ended.

        Args:
            why: what became of the process.
        """
        self._way = None
        self._controls.clear()
        self.down = why
        # As they were sent, and before that those that go alone.
        left = sorted(self._sent.values(), key=lambda call: (-call.tries, call.number))
        again = []
        for call in left:
            if self._sent.pop(call.number, None) is None:  # withdrawn meanwhile
                continue
            if call.wanted and (call.tries <= 0 or (call.repeatable and call.tries < MAX_TRIES)):
                again.append(call)
            else:
                call.reply.resolve(self._unknown(call, why))
        self._careful = self._careful or any(map(goes_alone, again))
        self._waiting.extendleft(reversed(again))
        if self._refusal is not None:
            self._refuse_waiting()

    def pause(self, why: str) -> None:
        """Keep calls until there is a process again; what was sent may still be answered."""
        self._way = None
        self.down = why

    def expire(self) -> None:
        """Answer calls that have waited too long; while no way takes any."""
        now = time.monotonic()
        for call in list(self._waiting):
            if call.expires > now:
                continue
            with suppress(ValueError):  # a sender has taken it meanwhile
                self._waiting.remove(call)
                if call.reply.claim(self):
                    call.reply.resolve(may_finish() if call.tries else self._never_begun())

    def close(self, refusal: str) -> None:
        """Take no more calls, and refuse those that wait."""
        self._refusal = refusal
        self._refuse_waiting()

    def _take(self, most: int) -> list[bytes]:
        """Return parts to be sent; on the present way's sending thread."""
        parts = []
        while self._controls:
            parts.append(self._controls.popleft())
        waiting, sent = self._waiting, self._sent
        while waiting and len(parts) < most and not self._must_wait():
            try:
                call = waiting.popleft()
            except IndexError:  # refused meanwhile
                break
            if not call.wanted or not call.reply.claim(self):
                if call.tries:  # withdrawn when it was to be sent again; else by its caller
                    call.reply.resolve(may_finish())
                continue
            if self._careful and is_command(call) and not goes_alone(call):
                self._careful = False
            call.tries += 1
            sent[call.number] = call
            parts.append(call.data)
        return parts

    def _must_wait(self) -> bool:
        """Return whether a command is sent beside which no other may be, or must not be itself."""
        return self._careful and any(map(is_command, list(self._sent.values())))

    def _take_out(self, call: Call) -> bool:
        """Return whether a call that was claimed is this thread's to answer."""
        if self._sent.pop(call.number, None) is not None:
            return True
        with suppress(ValueError):
            self._waiting.remove(call)
            return True
        return False

    def _refuse_waiting(self) -> None:
        while self._waiting:
            try:
                call = self._waiting.popleft()
            except IndexError:
                return
            if call.reply.claim(self):
                refusal = KernelStopped(self._refusal or "")
                call.reply.resolve(refusal if call.tries == 0 else self._unknown(call, self.down))

    def _outcome(self, call: Call, reply: list[Any]) -> Any:
        try:
            if isinstance(call.request, Command):
                return self._wire.outcome_of(reply, call.request[:2])
            return self._wire.value_of(reply)
        except Exception as error:  # noqa: BLE001 - the caller's; the next reply may be read
            return error

    def _never_begun(self) -> DispatchTimeout:
        return never_begun("its process is busy" if self._way is not None else self.down)

    def _unknown(self, call: Call, why: str) -> StoreUnavailable | KernelStopped:
        if self._refusal is not None and not is_command(call):
            return KernelStopped(self._refusal)
        return lost(call, why)
