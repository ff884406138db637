"""Every error eskernel raises, one tree under `EskernelError`.

The name says what happened, the fields carry the facts, the message says what to do. Imports
nothing of eskernel, so that every layer may raise them.
"""

from __future__ import annotations

from typing import Any


class EskernelError(Exception):
    """The root: `except EskernelError` catches everything a running kernel raises on purpose.

    Every one survives pickling, and so the way back from another process.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    cls: type[EskernelError], args: tuple[Any, ...], facts: dict[str, Any]
) -> EskernelError:
    """Return an error as it was, without its constructor, which words the message."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class CommandRejected(EskernelError):
    """The domain refused the command; nothing changed.

    Attributes:
        reason: the domain's word for it, for example `"insufficient_funds"`.
        detail: whatever the domain added, or None.
    """

    def __init__(self, reason: str, detail: Any = None) -> None:
        super().__init__(reason if detail is None else f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class InvalidCommand(EskernelError):
    """The command, or a value it would store, is malformed; nothing changed."""


class InvalidDomain(EskernelError):
    """A domain module misses a function, or breaks the rules of one."""


class UnknownAggregateType(EskernelError):
    """No domain is registered under the command's aggregate type.

    Attributes:
        aggregate_type: the name asked for.
        known: the registered names.
    """

    def __init__(self, aggregate_type: Any, known: tuple[str, ...] = ()) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"no domain is registered as {aggregate_type!r} (registered: {names}); "
            "pass it to Kernel({name: module})"
        )
        self.aggregate_type = aggregate_type
        self.known = known


class AggregateCrashed(EskernelError):
    """The aggregate's domain raised, or its state could not be rebuilt; `__cause__` tells why.

    Attributes:
        stream_id: the aggregate.
        retry_after: seconds until a rehydration is tried again, or None when nothing backs off.
    """

    def __init__(
        self,
        message: str,
        stream_id: tuple[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.stream_id = stream_id
        self.retry_after = retry_after


class ConcurrencyConflict(EskernelError):
    """The stream is not at the expected sequence: somebody else wrote first.

    Attributes:
        stream_id: the stream.
        expected: the sequence the writer believed to be the last.
        actual: the sequence that is the last.
    """

    def __init__(self, stream_id: tuple[str, str], expected: int, actual: int) -> None:
        super().__init__(
            f"stream {stream_id} is at sequence {actual}, not {expected}; "
            "read it again and decide again"
        )
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual


class ReentrantDispatch(EskernelError):
    """A domain function called back into the kernel, which could only deadlock."""


class DispatchTimeout(EskernelError):
    """No answer within the timeout.

    Attributes:
        started: False: the command had not begun and never will. True: it may still finish; repeat
            it with the same `command_id`, or ask `outcome_of`.
    """

    def __init__(self, message: str, *, started: bool) -> None:
        super().__init__(message)
        self.started = started

    @classmethod
    def because(cls, why: str, *, started: bool) -> DispatchTimeout:
        """Return the error for a command, with what follows for its sender."""
        advice = (
            "it may still finish: ask outcome_of, or repeat it with the same command_id"
            if started
            else "it never began and never will: it is safe to repeat"
        )
        return cls(f"{why}; {advice}", started=started)


class Overloaded(EskernelError):
    """The aggregate's inbox is full; nothing was queued. Slow down and try again."""


class StoreUnavailable(EskernelError):
    """The store could not be reached.

    Attributes:
        outcome_unknown: True when the append may or may not have been stored; repeating the
            command with the same `command_id` is safe.
    """

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown

    @classmethod
    def because(cls, cause: Exception, *, outcome_unknown: bool) -> StoreUnavailable:
        """Return the error for an exception a store should not have raised."""
        error = cls(
            f"the store failed: {type(cause).__name__}: {cause}; "
            + (
                "it may be stored, repeat with the same command_id"
                if outcome_unknown
                else "nothing was stored, try again"
            ),
            outcome_unknown=outcome_unknown,
        )
        error.__cause__ = cause
        return error


class CorruptStore(EskernelError):
    """Stored bytes are damaged. Nothing is guessed and nothing overwritten.

    Attributes:
        stream_id: the damaged stream, if known.
        sequence: the damaged event's sequence, if known.
    """

    def __init__(
        self, message: str, stream_id: tuple[str, str] | None = None, sequence: int | None = None
    ) -> None:
        super().__init__(message)
        self.stream_id = stream_id
        self.sequence = sequence


class StaleEpoch(EskernelError):
    """Somebody else has taken over what this process was in charge of; nothing was stored.

    Attributes:
        name: the checkpoints' name.
        epoch: the epoch the caller came with.
        newest: the epoch the name has seen.
    """

    def __init__(self, name: str, epoch: int, newest: int) -> None:
        super().__init__(
            f"{name} is at epoch {newest}, and {epoch} came too late; "
            "another process has taken over: wait for its lease to end"
        )
        self.name = name
        self.epoch = epoch
        self.newest = newest


class NotOwner(EskernelError):
    """Another kernel has the lease of the aggregate's shard; nothing was done.

    Attributes:
        stream_id: the aggregate.
        owner: who has it, as that kernel calls itself.
        retry_after: seconds until its lease runs out, unless it is renewed.
    """

    def __init__(self, stream_id: tuple[str, str], owner: str, retry_after: float) -> None:
        super().__init__(
            f"{stream_id} belongs to {owner!r}, whose lease is valid for {retry_after:.3g} s more "
            "unless it is renewed; send the command there, or try again later"
        )
        self.stream_id = stream_id
        self.owner = owner
        self.retry_after = retry_after


class InvalidProjection(EskernelError):
    """A projection module misses a function, or breaks the rules of one."""


class UnknownProjection(EskernelError):
    """No projection is registered under that name.

    Attributes:
        name: the name asked for.
        known: the registered names.
    """

    def __init__(self, name: Any, known: tuple[str, ...] = ()) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"no projection is registered as {name!r} (registered: {names}); "
            "pass it to Kernel(..., projections={name: module})"
        )
        self.name = name
        self.known = known


class NotProjected(EskernelError):
    """A projection has not seen a position in time, or has stopped before it.

    The events are stored all the same.

    Attributes:
        projection: its name.
        position: the position waited for.
        reached: the position it is at.
        accepted: what `dispatch` would have returned; None if it was not called.
    """

    def __init__(
        self, message: str, projection: str, position: int, reached: int, accepted: Any = None
    ) -> None:
        super().__init__(message)
        self.projection = projection
        self.position = position
        self.reached = reached
        self.accepted = accepted


class ProjectionBusy(EskernelError):
    """What was asked of a projection does not fit what it is doing; the message says why."""


class KernelStopped(EskernelError):
    """The kernel is not running: never started, stopped, failed, or copied by a fork.

    Attributes:
        reason: why, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the kernel is not running: {reason}")
        self.reason = reason


class NotImportable(EskernelError, ImportError):
    """Something that another process must import has no import path, or is not found under it."""


class RemoteFailure(EskernelError):
    """An exception that is none of eskernel's, raised in another process.

    Attributes:
        kind: its class, as `module.name`.
        traceback: where it was raised there, as text.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.traceback = traceback


class NotStorable(EskernelError, TypeError):
    """A value cannot be stored exactly.

    Attributes:
        path: where the offending value sits, for example `payload['lines'][2].price`.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
