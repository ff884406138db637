"""CallerRunActor: a Pykka actor that borrows the threads of its callers.

Mailbox and ownership; what the messages mean is a subclass's business.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from eskernel.actors.aggregate.door import ThreadlessActor
from eskernel.actors.aggregate.interruption import repair
from eskernel.actors.aggregate.life import PASSIVATED, Life
from eskernel.actors.aggregate.requests import Request
from eskernel.actors.aggregate.retiring import retire
from eskernel.actors.journal import log_safely
from eskernel.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from eskernel.actors.aggregate.routing import Aggregate
    from eskernel.actors.aggregate.services import Services
    from eskernel.actors.aggregate.turns import Turn
    from eskernel.values import StreamId

POOL_BATCH = 256
"""Messages a pool thread handles before it looks at other actors."""
CALLER_BATCH = 32
"""Messages a calling thread handles before it leaves the rest to the pool."""
CALLER_PATIENCE = 0.001
"""Seconds after which it does so in any case: its own caller waits."""
_NO_MAIL = cast("deque[Request]", ())
_opening = threading.Lock()


class CallerRunActor(ThreadlessActor):
    """A genuine Pykka actor without a thread: whoever owns it runs it, see `turns`.

    Invariants, besides those of `turns`:

    - An actor of its own accord ends only under ownership. Once its life is over it handles
      nothing more.
    - A dead actor keeps its route while it has appends in flight. Only an owner gives the route
      up, and under the same lock passes the mailbox on to a successor, its `heir` until the route
      leads to it.
    - A request is in the mailbox of its `home`; elsewhere it is a leftover of an interrupted move.
    - `tried` counts the appends handed to the store: when it has changed at an interruption, one
      may have been stored.
    - A calling thread handles no request but those that threads wait for: what interrupts it can
      then be repaired. All other requests are the pool's.
    """

    __slots__ = (
        "announced",
        "heir",
        "last_used",
        "life",
        "mailbox",
        "services",
        "tried",
    )

    def __init__(self, stream_id: StreamId, services: Services, life: Life) -> None:
        # Not Pykka's constructor: no inbox, event or reference is wanted before it is used.
        self.stream_id = stream_id
        self.services = services
        self.life = life
        self.mailbox = _NO_MAIL  # an idle actor costs no deque; see open_mailbox
        self.last_used = services.monotonic()
        self.announced = False
        self.heir: Aggregate | None = None
        self.tried = 0
        self.known_ref = None

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.stream_id}"

    # What a subclass says.

    def handle(self, request: Request, turn: Turn) -> None:
        """Handle one request; owner only. Answers go through `answer`."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop the state: what an interrupted owner left of it cannot be trusted."""

    def settle(self, turn: Turn) -> None:
        """Take in the results of appends that have ended; owner only."""

    def in_flight(self) -> int:
        """Return how many requests wait for appends to end."""
        return 0

    def is_pending(self, request: Request) -> bool:  # noqa: ARG002 - none is here
        """Return whether a request waits for appends to end; owner only."""
        return False

    def held_up(self) -> bool:
        """Return whether the mailbox must wait: for appends, or for a supervisor to succeed it."""
        return self.life.over and self.services.between_supervisors()

    def has_work(self) -> bool:
        """Return whether somebody must run the actor."""
        return bool(self.mailbox) and not self.held_up()

    def pass_on(self) -> None:
        """Leave to a pool thread what there is to do after a turn."""
        if self.has_work():
            self.services.jobs.put(self.run)

    # Messages.

    def post(
        self,
        request: Request,
        turn: Turn | None = None,
        *,
        limited: bool = True,
        run_later: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        """Queue a request and see to it that it is handled.

        Args:
            request: what to queue.
            turn: the calling thread's, if it may run the actor; else another thread does.
            limited: whether `inbox_limit` counts.
            run_later: given the function to run the actor by, on a thread of the kernel's; None
                for the pool.

        Raises:
            Overloaded: `inbox_limit` requests wait already.
        """
        self.enqueue(request, limited=limited)
        services = self.services
        if turn is not None:
            turn.own = request
            self.take_turn(turn, CALLER_BATCH)
        elif self not in services.owners:
            (run_later or services.jobs.put)(self.run)
        if services.refusal is not None and self.life.over:
            self.take_turn(services.turns.mine, 0)  # there may be no pool any more
        self._move_late(services.turns.mine)

    def _move_late(self, turn: Turn) -> None:
        """Move what arrived after the route was given up, before its sender sends again."""
        services = self.services
        while (
            self.mailbox
            and not services.routes_to(self)
            and not turn.running
            and not services.between_supervisors()
        ):
            self.take_turn(turn, 0)
            time.sleep(0)

    def enqueue(self, request: Request, *, limited: bool = True) -> None:
        """Queue a request; the caller must then run or schedule the actor.

        Raises:
            Overloaded: `inbox_limit` requests wait already.
        """
        if limited and self.full():
            raise Overloaded(
                f"{self.stream_id} has {self.waiting()} requests waiting; "
                "slow down, or raise inbox_limit"
            )
        request.home = self
        self.open_mailbox().append(request)

    def open_mailbox(self) -> deque[Request]:
        """Return the mailbox to put something into."""
        if self.mailbox is _NO_MAIL:
            with _opening:
                if self.mailbox is _NO_MAIL:
                    self.mailbox = deque()
        return self.mailbox

    def full(self) -> bool:
        """Return whether no more requests may wait."""
        return self.waiting() >= self.services.limits.inbox_limit

    def waiting(self) -> int:
        """Return how many requests wait, for this actor or for their appends."""
        return len(self.mailbox) + self.in_flight()

    def answer(self, turn: Turn, request: Request, outcome: Any) -> None:
        """Have the reply given once the actor is released."""
        turn.answers.append((request.reply, outcome))

    def give_answers(self, turn: Turn) -> None:
        """Complete the turn's replies, those that are not quick on a thread of the pool."""
        services = self.services
        pool_there = services.refusal is None
        turn.give_answers(services.completions.put if pool_there and not turn.ours else None)

    # Running.

    def run(self) -> None:
        """Handle messages on a pool thread."""
        turn = self.services.turns.mine
        before, turn.ours = turn.ours, True
        try:
            self.take_turn(turn, POOL_BATCH)
        finally:
            turn.ours = before

    def take_turn(self, turn: Turn, limit: int, *, idle_since: float | None = None) -> bool:
        """Own the actor, if it is free, and handle at most `limit` messages.

        Args:
            turn: the calling thread's.
            limit: messages to handle before leaving the rest to the pool.
            idle_since: passivate it if it was not used since, on the kernel's monotonic clock.

        Returns:
            Whether the actor was free.
        """
        owners = self.services.owners
        try:
            if owners.setdefault(self, turn) is not turn:
                return False
            turn.running = True
            if idle_since is not None and self.last_used <= idle_since and not self.waiting():
                self.end(None)
            self._handle_messages(turn, limit)
            turn.running = False
            del owners[self]
            self.pass_on()
            self.give_answers(turn)
        except BaseException:
            self.interrupted(turn)
            raise
        return True

    def _handle_messages(self, turn: Turn, limit: int) -> None:
        self.settle(turn)
        mailbox = self.mailbox
        until = None if turn.ours or not mailbox else time.monotonic() + CALLER_PATIENCE
        while mailbox and limit > 0 and not self.life.over and not self.held_up():
            request = mailbox[0]
            if not (turn.ours or request.reply.quick):
                break
            turn.mark = self.tried
            turn.message = request
            mailbox.popleft()
            if request.home is self and request.begin():
                self._handle_safely(request, turn)
            turn.message = None
            limit -= 1
            if until is not None and time.monotonic() > until:
                break
        if self.life.over and not self.in_flight():
            retire(self, turn)

    def _handle_safely(self, request: Request, turn: Turn) -> None:
        """Handle a request; an exception nobody foresaw is the answer to it alone.

        On a calling thread it may be an interruption, so there the pool tries the request again.
        """
        try:
            self.handle(request, turn)
        except Exception as error:
            if not turn.ours:
                raise
            log_safely("error", "request_failed", actor=str(self), exc_info=error)
            self.forget()
            self.answer(turn, request, error)

    def interrupted(self, turn: Turn) -> None:
        """Repair what an exception at any point of a turn left; see `interruption`."""
        repair(self, turn)

    # The end.

    def end(self, reason: BaseException | None) -> None:
        """Handle nothing more; owner only."""
        if not self.life.over:
            self.life = PASSIVATED if reason is None else Life(over=True, reason=reason)
