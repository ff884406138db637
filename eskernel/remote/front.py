"""Front: the API of a Kernel, in front of kernels in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

from eskernel.actors.aggregate.deciding import check_command, is_plain
from eskernel.actors.aggregate.limits import check_seconds
from eskernel.actors.aggregate.replies import WaitedReply
from eskernel.actors.tree import Node
from eskernel.errors import (
    DispatchTimeout,
    InvalidCommand,
    KernelStopped,
    NotStorable,
    UnknownAggregateType,
    UnknownProjection,
)
from eskernel.projections.audit import Audit
from eskernel.remote.calls import Call, CallFuture, Link
from eskernel.remote.outcomes import fields_to_accepted
from eskernel.remote.projecting import RemoteProjection
from eskernel.remote.setup import Setup
from eskernel.remote.wire import Ask
from eskernel.values import Accepted, Command, StreamId, check_identifier, shard_of

_KNOWN: Final = 100_000
GRACE: Final = 1.0
"""Seconds for which an answer that is due is waited for."""


class Front:
    """Routes commands and questions by shard; every method is thread-safe.

    A subclass starts the links, one for each kernel, and says which serves which shard.

    Args:
        setup: of the kernels.
        shards: how many there are.
    """

    def __init__(self, setup: Setup, shards: int) -> None:
        if type(shards) is not int or shards < 1:
            raise ValueError(f"shards must be a whole number of at least 1, not {shards!r}")
        setup.check_imports()
        self._setup = setup
        self._wire = setup.wire()
        self._shards = shards
        # By stream, so that names are checked and hashed once; forgotten when there are too many.
        self._known: dict[StreamId, int] = {}
        self._dispatch_timeout: float = setup.options["dispatch_timeout"]

    # What a subclass says.

    def start(self) -> Self:
        """Start what runs the aggregates; does nothing if that runs."""
        raise NotImplementedError

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop it; return whether everything ended within so many seconds."""
        raise NotImplementedError

    def tree(self, *, max_aggregates: int = 20) -> Node:
        """Return the supervision tree of all processes; `print(kernel.tree())` draws it."""
        raise NotImplementedError

    def _links(self) -> Sequence[Link]:
        """Return the link of each kernel; raises KernelStopped if they cannot be used."""
        raise NotImplementedError

    def _link_of(self, shard: int) -> Link:
        """Return the link that serves a shard; raises KernelStopped."""
        raise NotImplementedError

    def _hand_over(self, job: Callable[[], Any]) -> None:
        """Have a callback of a future called on a thread of its own kind."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

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
        link = self._route(command)
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
                projection.wait_for(accepted.position, left, accepted=accepted)
        return accepted

    def submit(self, command: Command) -> Future[Accepted]:
        """Have a command decided, and return a future of the outcome at once.

        Cancelling it works until the command is sent. Its callbacks run on threads of a pool of
        their own, as those of `Kernel.submit`.

        Raises:
            InvalidCommand, UnknownAggregateType, KernelStopped, Overloaded: at once.
        """
        link = self._route(command)
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
            links = self._links()
        except KernelStopped:
            return []
        asked = [(link, *self._asked(link, Ask("live_aggregates", ()))) for link in links]
        found = [self._answer(*one, self._dispatch_timeout) for one in asked]
        return [stream_id for streams in found for stream_id in streams]

    def projection(self, name: str) -> RemoteProjection:
        """Return a projection; see `Kernel.projection`.

        Raises:
            UnknownProjection: there is none of that name.
            KernelStopped: the kernel is not running.
        """
        if name not in self._wire.projections:
            raise UnknownProjection(name, tuple(self._wire.projections))
        return RemoteProjection(name, self._ask_projection, len(self._links()))

    def audit(self, name: str, *, full: bool = False) -> Audit:
        """Compare what a projection has handled with the log; see `Kernel.audit`."""
        return self.projection(name).audit(full=full)

    # Asking.

    def _ask_about(
        self, aggregate_type: str, aggregate_id: str, name: str, seconds: float, *more: Any
    ) -> Any:
        link = self._link_of(self._shard_of(aggregate_type, aggregate_id))
        arguments = (aggregate_type, aggregate_id, *more, seconds)
        return self._ask(link, Ask(name, arguments), seconds)

    def _ask_projection(self, index: int, name: str, seconds: float | None, *what: Any) -> Any:
        """Ask the kernel of an index about a projection; states come decoded."""
        links = self._links()
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
        return DispatchTimeout(
            f"no answer within {seconds:g} s, from a process that may hang; it may still finish: "
            "ask outcome_of, or repeat it with the same command_id",
            started=True,
        )

    # Checking.

    def _route(self, command: Any) -> Link:
        """Return the link for a command that may be sent, or raise what speaks against it."""
        if not isinstance(command, Command):
            raise InvalidCommand(
                f"the kernel takes a Command, not {type(command).__name__}; "
                "make one: Command(aggregate_type, aggregate_id, type, payload)"
            )
        try:
            shard = self._known.get(command[:2])
        except TypeError:  # unhashable, so not strings
            shard = None
        if shard is None:
            shard = self._shard_of(*command[:2])
        if not is_plain(command):
            problem = check_command(command, self._wire.domains[command[0]])  # type: ignore[arg-type]
            if problem is not None:
                raise problem
        return self._link_of(shard)

    def _shard_of(self, aggregate_type: Any, aggregate_id: Any) -> int:
        """Return an aggregate's shard, after checking its names."""
        stream_id = self._checked_stream(aggregate_type, aggregate_id)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        shard = self._known[stream_id] = shard_of(stream_id, self._shards)
        return shard

    def _checked_stream(self, aggregate_type: Any, aggregate_id: Any) -> StreamId:
        domains = self._wire.domains
        if not isinstance(aggregate_type, str) or aggregate_type not in domains:
            raise UnknownAggregateType(aggregate_type, tuple(domains))
        return aggregate_type, check_identifier("aggregate_id", aggregate_id)

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
