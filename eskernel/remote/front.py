"""Front: the API of a Kernel, in front of kernels in other processes.

A little longer than most modules: it is a public face with its documentation.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any, Final

from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.aggregate.replies import WaitedReply
from eskernel.actors.tree import Node
from eskernel.errors import (
    DispatchTimeout,
    EskernelError,
    InvalidCommand,
    KernelStopped,
    NotProjected,
    NotStorable,
    UnknownProjection,
)
from eskernel.projections.audit import Audit
from eskernel.remote.calls import Call, CallFuture, Link
from eskernel.remote.life import Life, R
from eskernel.remote.outcomes import fields_to_accepted
from eskernel.remote.projecting import RemoteProjection
from eskernel.remote.running import Member
from eskernel.remote.setup import Setup
from eskernel.remote.trees import fields_to_node
from eskernel.remote.wire import Ask
from eskernel.values import Accepted, Command, StreamId, check_identifier

_TREE_WITHIN: Final = 1.0  # seconds
GRACE: Final = 1.0
"""Seconds for which an answer that is due is waited for."""


class Front(Life[R]):
    """The methods of a Kernel, each passed on to the kernel that has the shard; thread-safe.

    Args:
        setup: of the kernels.

    Raises:
        InvalidDomain, InvalidProjection, NotImportable: something cannot be imported here.
    """

    def __init__(self, setup: Setup) -> None:
        setup.check_imports()
        self._setup = setup
        self._wire = setup.wire()
        self._dispatch_timeout: float = setup.options["dispatch_timeout"]
        super().__init__()

    # Commands.

    def dispatch(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        wait_for: Collection[str] = (),
    ) -> Accepted:
        """Have a command decided and its events stored; see `Kernel.dispatch`.

        Raises:
            StoreUnavailable: also when the process that had the command died; with
                `outcome_unknown`, unless the command carries a `command_id`: then it is sent again.
            InvalidCommand: also when the payload cannot be sent to another process.
            EskernelError: anything else as `Kernel.dispatch`.
        """
        if isinstance(wait_for, str):
            raise TypeError(f"wait_for must be a tuple of names; write ({wait_for!r},)")
        running = self._present()
        link = running.slot_of(running.router.route(command))
        seconds = self._seconds(timeout)
        projections = [self.projection(name) for name in wait_for]
        deadline = time.monotonic() + seconds
        reply = WaitedReply()
        call = Call(command, reply, deadline)
        self._post(link, call)
        accepted: Accepted = _value(self._wait(link, call, reply, seconds))
        if accepted.position is not None:
            for projection in projections:
                left = max(0.0, deadline - time.monotonic())
                _wait_for(projection, accepted, left)
        return accepted

    def submit(self, command: Command) -> Future[Accepted]:
        """Have a command decided, and return a future of the outcome at once.

        Cancelling it works until the command is sent. Its callbacks run on threads of a pool of
        their own, as those of `Kernel.submit`.

        Raises:
            InvalidCommand, UnknownAggregateType, KernelStopped, Overloaded: at once.
        """
        running = self._present()
        link = running.slot_of(running.router.route(command))
        future = CallFuture(self._hand_over)
        self._post(link, Call(command, future, time.monotonic() + self._dispatch_timeout))
        return future

    # Reading.

    def state_of(
        self, aggregate_type: str, aggregate_id: str, *, timeout: float | None = None
    ) -> tuple[Any, int]:
        """Return a copy of an aggregate's state and its sequence; see `Kernel.state_of`."""
        seconds = self._seconds(timeout)
        packed, sequence = self._ask_about(aggregate_type, aggregate_id, "state_of", seconds)
        return self._wire.domains[aggregate_type].unpack(packed), sequence

    def outcome_of(
        self,
        aggregate_type: str,
        aggregate_id: str,
        command_id: str,
        *,
        timeout: float | None = None,
    ) -> Accepted | None:
        """Return what a command stored, or None; see `Kernel.outcome_of`."""
        check_identifier("command_id", command_id)
        seconds = self._seconds(timeout)
        fields = self._ask_about(aggregate_type, aggregate_id, "outcome_of", seconds, command_id)
        if fields is None:
            return None
        unpack = self._wire.domains[aggregate_type].unpack
        return fields_to_accepted((aggregate_type, aggregate_id), fields, unpack)

    def live_aggregates(self) -> list[StreamId]:
        """Return the stream ids of the aggregates that are live, in any process."""
        try:
            links = self._present().slots
        except KernelStopped:
            return []
        asked = [(link, *self._asked(link, Ask("live_aggregates", ()))) for link in links]
        found = [self._answer(*one, self._dispatch_timeout) for one in asked]
        return [stream_id for streams in found for stream_id in streams]

    def tree(self, *, max_aggregates: int = 20) -> Node:
        """Return the supervision tree of all processes; `print(kernel.tree())` draws it.

        Args:
            max_aggregates: aggregates shown one by one, of each kernel.
        """
        running = self._present()
        members = running.members()
        ask = Ask("tree", (max_aggregates,))
        asked = [(one, *self._asked(one.slot, ask, _TREE_WITHIN)) for one in members if one.alive]
        trees = {
            one.name: self._wait(one.slot, call, reply, _TREE_WITHIN) for one, call, reply in asked
        }
        return running.node([_node(one, trees.get(one.name)) for one in members])

    def projection(self, name: str) -> RemoteProjection:
        """Return a projection; see `Kernel.projection`.

        Raises:
            UnknownProjection: there is none of that name.
            KernelStopped: the kernel is not running.
        """
        if name not in self._wire.projections:
            raise UnknownProjection(name, tuple(self._wire.projections))
        return RemoteProjection(name, self._ask_projection, len(self._present().slots))

    def audit(self, name: str, *, full: bool = False) -> Audit:
        """Compare what a projection has handled with the log; see `Kernel.audit`."""
        return self.projection(name).audit(full=full)

    # Asking.

    def _ask_about(
        self, aggregate_type: str, aggregate_id: str, name: str, seconds: float, *more: Any
    ) -> Any:
        running = self._present()
        link = running.slot_of(running.router.shard_of(aggregate_type, aggregate_id))
        arguments = (aggregate_type, aggregate_id, *more, seconds)
        return self._ask(link, Ask(name, arguments), seconds)

    def _ask_projection(self, index: int, name: str, seconds: float | None, *what: Any) -> Any:
        """Ask the kernel of an index about a projection; states come decoded."""
        links = self._present().slots
        answer = self._ask(
            links[index % len(links)], Ask("projection", (name, *what)), self._seconds(seconds)
        )
        return self._wire.projections[name].unpack(answer) if what[0] == "read" else answer

    def _ask(self, link: Link, ask: Ask, seconds: float) -> Any:
        # The kernel that is asked counts the same seconds from a little later on, and then says
        # why they were not enough.
        return self._answer(link, *self._asked(link, ask, seconds), seconds + GRACE)

    def _asked(
        self, link: Link, ask: Ask, seconds: float | None = None
    ) -> tuple[Call, WaitedReply]:
        """Send a question, to be answered later."""
        reply = WaitedReply()
        call = Call(ask, reply, time.monotonic() + self._seconds(seconds))
        self._post(link, call)
        return call, reply

    def _answer(self, link: Link, call: Call, reply: WaitedReply, seconds: float) -> Any:
        return _value(self._wait(link, call, reply, seconds))

    def _wait(self, link: Link, call: Call, reply: WaitedReply, seconds: float) -> Any:
        """Return the outcome of a call; an exception is returned as well."""
        try:
            if reply.wait(seconds):
                return reply.outcome
            link.withdraw(call)
            if reply.wait(GRACE):
                return reply.outcome
        except BaseException:
            link.withdraw(call)  # whoever interrupts the caller wants it not to begin
            raise
        return DispatchTimeout.because(
            f"no answer within {seconds:g} s, from a process that may hang", started=True
        )

    # Checking.

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._dispatch_timeout
        check_seconds("timeout", timeout)
        return timeout

    def _post(self, link: Link, call: Call) -> None:
        try:
            link.post(call)
        except NotStorable as error:
            raise InvalidCommand(f"the command cannot be sent to its process: {error}") from error


def _value(outcome: Any) -> Any:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _wait_for(projection: RemoteProjection, accepted: Accepted, seconds: float) -> None:
    """Wait for a projection; whatever fails, the caller hears that the events are stored."""
    try:
        projection.wait_for(accepted.position, seconds, accepted=accepted)
    except NotProjected:
        raise
    except EskernelError as error:
        raise NotProjected(
            f"projection {projection.name!r} cannot be asked ({error}); the command's events are "
            "stored",
            projection.name,
            accepted.position or 0,
            0,
            accepted,
        ) from error


def _node(member: Member, tree: Any) -> Node:
    """Return a kernel's node, with its tree below it if that is what it has answered."""
    known = isinstance(tree, list)
    where = member.where if known or not member.alive else f"{member.where}, does not answer"
    below = (fields_to_node(tree),) if known else ()
    queued = member.slot.under_way()
    return Node(member.name, where, None, member.alive, queued, member.restarts, below)
