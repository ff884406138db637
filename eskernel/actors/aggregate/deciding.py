"""Deciding: one command against one state, by the domain's pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    EskernelError,
    InvalidCommand,
    NotStorable,
    ReentrantDispatch,
)
from eskernel.values import NO_METADATA, Command, Rejected, Row, StreamId
from eskernel.values.identifier import check_identifier

Decision: TypeAlias = tuple[tuple[Row, ...], Any] | EskernelError | None
"""New events, as rows, with the state they make; or why not; or None when there are none."""


_NO_TAGS: tuple[str, ...] = ()
Decide: TypeAlias = Callable[[Command, StreamId, int, Any], Decision]
"""From a command, its stream, the sequence and the state before it to the decision."""


def decider(  # noqa: C901 - counts the function within
    domain: BoundDomain, now: Callable[[], float]
) -> Decide:
    """Return the function that decides the commands of one domain.

    Args:
        domain: the domain.
        now: Unix seconds, to stamp events.
    """
    # Free variables are the cheapest way to what does not change between commands.
    handle_command, apply_event = domain.handle_command, domain.apply_event
    freeze, unpack, name_event = domain.freeze, domain.unpack, domain.name_event
    plainly_typed, known_types = domain.event_type is None, domain.known_types
    copy_of = domain.copy

    def decide(  # noqa: C901, PLR0911 - one way for each kind of answer
        command: Command, stream_id: StreamId, sequence: int, state: Any
    ) -> Decision:
        """Run handle_command, then apply_event over what it returned; change nothing.

        Each event is encoded once, here, on the caller's thread, and apply_event gets a copy
        decoded from those bytes: it sees exactly what a replay will see, and no object of the
        caller or of handle_command becomes part of the state.

        One function, long for this code base: a call more costs as much as a small domain.
        """
        try:
            payloads = handle_command(command, state)
            kind = payloads.__class__
            if kind is dict:  # the most frequent first
                payloads = (payloads,)
            elif kind is not list and kind is not tuple:
                if payloads is None:
                    return None
                if isinstance(payloads, Rejected):
                    return CommandRejected(payloads.reason, copy_of(payloads.detail))
                payloads = (payloads,)
            elif not payloads:
                return None
            _, _, _, _, command_id, _, metadata, tags = command
            header = domain.pack(dict(metadata), "metadata") if metadata else b""
            timestamp = int(now() * 1000)
            rows: tuple[Row, ...] = ()
            for payload in payloads:
                sequence += 1
                body, copy = freeze(payload)
                state = apply_event(copy, state)
                name = payload.get("type") if plainly_typed and payload.__class__ is dict else None
                if name.__class__ is not str or name not in known_types:
                    name = name_event(payload)
                row = (
                    stream_id,
                    sequence,
                    name,
                    body,
                    header,
                    tags,
                    timestamp,
                    command_id,
                    None,
                    unpack,
                )
                rows += (row,)
        except NotStorable as error:
            return _refused(command, error)
        except ReentrantDispatch as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a domain raises ends this actor only
            return crashed(stream_id, command.type, error)
        return rows, state

    return decide


def _refused(command: Command, error: NotStorable) -> InvalidCommand:
    refusal = InvalidCommand(f"an event of {command.type!r} cannot be stored: {error}")
    refusal.__cause__ = error
    return refusal


def crashed(stream_id: StreamId, command_type: str, cause: BaseException) -> AggregateCrashed:
    """Return the error for a command on which the domain raised."""
    try:
        words = f"{type(cause).__name__}: {cause}"
    except Exception:  # noqa: BLE001 - its own __str__ raises whatever it likes
        words = type(cause).__name__
    error = AggregateCrashed(
        f"{stream_id} crashed on {command_type!r}: {words}; nothing stored", stream_id
    )
    error.__cause__ = cause
    return error


def is_plain(command: Command) -> bool:
    """Return whether a command has no optional parts and nothing else to be checked."""
    _, _, kind, _, command_id, expected, metadata, tags = command
    return (
        command_id is None
        and expected is None
        and tags is _NO_TAGS
        and metadata is NO_METADATA
        and kind.__class__ is str
    )


def check_command(command: Command, domain: BoundDomain) -> InvalidCommand | None:
    """Return what is wrong with a command's type or optional parts, or None."""
    try:
        _check_parts(command)
        if command.metadata:
            domain.pack(dict(command.metadata), "metadata")
    except InvalidCommand as error:
        return error
    except Exception as error:  # noqa: BLE001 - foreign objects raise whatever they like
        refusal = InvalidCommand(f"the command cannot be stored: {error}")
        refusal.__cause__ = error
        return refusal
    return None


def _check_parts(command: Command) -> None:
    kind, expected = command.type, command.expected_sequence
    tags, metadata = command.tags, command.metadata
    if not isinstance(kind, str):
        raise InvalidCommand(f"a command's type must be a string, not {kind!r}")
    if command.command_id is not None:
        check_identifier("command_id", command.command_id)
    if expected is not None and (type(expected) is not int or expected < 0):
        raise InvalidCommand(f"expected_sequence must be a number >= 0, not {expected!r}")
    if type(tags) is not tuple:
        raise InvalidCommand(f"tags must be a tuple of strings, not {tags!r}")
    for index, tag in enumerate(tags):
        check_identifier(f"tags[{index}]", tag)
    if metadata is NO_METADATA:
        return
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InvalidCommand(f"metadata must be a mapping with string keys, not {metadata!r}")
