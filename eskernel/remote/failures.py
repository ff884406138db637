"""Failures: exceptions as plain values, and back."""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

from eskernel import errors
from eskernel.codec import Codec
from eskernel.errors import EskernelError, NotStorable, RemoteFailure
from eskernel.remote.outcomes import accepted_to_fields, fields_to_accepted
from eskernel.values import Accepted

Pack = Callable[[Any, str], bytes]
Fields = list[Any]
"""An error's class, arguments, facts, facts that are outcomes, and cause."""

PLAIN: Final = Codec()
"""Of what belongs to no domain."""
_CAUSES: Final = 10
"""How many causes of causes travel; a chain may be a ring."""


def failure_to_fields(
    error: BaseException, pack: Pack = PLAIN.pack, causes: int = _CAUSES
) -> Fields:
    """Return an exception as values that a codec packs.

    One of eskernel's or of Python's own keeps its class and facts, but for what cannot be packed,
    which becomes its `repr`; any other becomes a `RemoteFailure`.

    Args:
        error: the exception.
        pack: the codec's.
        causes: how many of its causes go with it.
    """
    kind = _known(type(error))
    if kind is None:
        described = _described(error)
        return ["RemoteFailure", list(described.args), described.__dict__, {}, None]
    cause = error.__cause__
    known = {name: fact for name, fact in error.__dict__.items() if name != "__notes__"}
    if type(error).__module__ == "builtins":
        known = {"__notes__": [f"In another process:\n{_described(error).traceback}"]}
    outcomes = {name: fact for name, fact in known.items() if isinstance(fact, Accepted)}
    return [
        kind,
        [_packable(argument, pack) for argument in error.args],
        {name: _packable(fact, pack) for name, fact in known.items() if name not in outcomes},
        {name: accepted_to_fields(fact) for name, fact in outcomes.items()},
        failure_to_fields(cause, pack, causes - 1) if cause is not None and causes else None,
    ]


def fields_to_failure(fields: Fields, unpacks: Mapping[str, Callable[[bytes], Any]]) -> Exception:
    """Return the exception that `failure_to_fields` was given, or what stands for it.

    Args:
        fields: the values.
        unpacks: from aggregate type to what decodes its payloads; for outcomes among the facts.
    """
    name, arguments, facts, outcomes, cause = fields
    cls = getattr(errors, name, None) or getattr(builtins, name)
    error: Exception = cls.__new__(cls, *arguments)
    error.args = tuple(arguments)
    error.__dict__.update(facts)
    for fact, (stream_id, rest) in outcomes.items():
        error.__dict__[fact] = fields_to_accepted(stream_id, rest, unpacks[stream_id[0]])
    if cause is not None:
        error.__cause__ = fields_to_failure(cause, unpacks)
    return error


def _known(cls: type[BaseException]) -> str | None:
    """Return the name under which the other side knows a class, or the nearest above it."""
    for base in cls.__mro__:
        if base.__module__ == errors.__name__ and base is not EskernelError:
            return base.__name__
    if cls.__module__ == "builtins" and issubclass(cls, Exception):
        return cls.__name__
    return "EskernelError" if issubclass(cls, EskernelError) else None


def _described(error: BaseException) -> RemoteFailure:
    cls = type(error)
    kind = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    trace = "".join(traceback.format_exception(error))
    return RemoteFailure(kind, _told(str, error), _told(str, trace))


def _told(tell: Callable[[Any], str], value: Any) -> str:
    """Return what a value says of itself, as text that every codec packs."""
    try:
        return tell(value).encode(errors="backslashreplace").decode()
    except Exception as error:  # noqa: BLE001 - foreign objects raise whatever they like
        return f"<{type(value).__name__}, which raises {type(error).__name__} when shown>"


def _packable(value: Any, pack: Pack) -> Any:
    try:
        pack(value, "fact")
    except NotStorable:
        return _told(repr, value)
    return value
