"""Failures: exceptions as plain values, and back."""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable
from typing import Any, Final

from eskernel import errors
from eskernel.codec import Codec
from eskernel.errors import EskernelError, NotStorable, RemoteFailure
from eskernel.remote.outcomes import accepted_to_fields, fields_to_accepted
from eskernel.values import Accepted

Pack = Callable[[Any, str], bytes]
Fields = list[Any]
"""An error's class, arguments, facts and cause."""

_PLAIN: Final = Codec()
_ACCEPTED: Final = "\0accepted"
"""Marks an outcome among an error's facts; no string a user sees begins with NUL."""
_BUILT_IN: Final = ("LookupError", "TypeError", "ValueError")


def failure_to_fields(error: BaseException, pack: Pack = _PLAIN.pack) -> Fields:
    """Return an exception as values that a codec packs.

    One of eskernel's keeps its class and facts, but for what cannot be packed, which becomes its
    `repr`; any other becomes a `RemoteFailure`, unless its class is a built-in one that tells the
    caller of a wrong argument.

    Args:
        error: the exception.
        pack: the codec's.
    """
    kind = _known(type(error))
    if kind is None:
        described = _described(error)
        return ["RemoteFailure", list(described.args), described.__dict__, None]
    cause = error.__cause__
    return [
        kind,
        [_packable(argument, pack) for argument in error.args],
        {
            name: _packable(fact, pack)
            for name, fact in error.__dict__.items()
            if name != "__notes__"
        },
        None if cause is None else failure_to_fields(cause, pack),
    ]


def fields_to_failure(fields: Fields, unpacks: Any) -> Exception:
    """Return the exception that `failure_to_fields` was given, or what stands for it.

    Args:
        fields: the values.
        unpacks: from aggregate type to what decodes its payloads; for outcomes among the facts.
    """
    name, arguments, facts, cause = fields
    if name in _BUILT_IN:
        return getattr(builtins, name)(*arguments)  # type: ignore[no-any-return]
    cls = getattr(errors, name)
    error: EskernelError = cls.__new__(cls, *arguments)
    error.args = tuple(arguments)
    for fact, value in facts.items():
        if type(value) is tuple and value[:1] == (_ACCEPTED,):
            error.__dict__[fact] = fields_to_accepted(value[1], value[2], unpacks[value[1][0]])
        else:
            error.__dict__[fact] = value
    if cause is not None:
        error.__cause__ = fields_to_failure(cause, unpacks)
    return error


def _known(cls: type[BaseException]) -> str | None:
    """Return the name under which the other side knows a class, or the nearest above it."""
    for base in cls.__mro__:
        if base.__module__ == errors.__name__ and base is not EskernelError:
            return base.__name__
    if cls.__module__ == "builtins" and cls.__name__ in (*_BUILT_IN, "KeyError", "IndexError"):
        return "LookupError" if issubclass(cls, LookupError) else cls.__name__
    return "EskernelError" if issubclass(cls, EskernelError) else None


def _described(error: BaseException) -> RemoteFailure:
    cls = type(error)
    kind = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    return RemoteFailure(kind, str(error), "".join(traceback.format_exception(error)))


def _packable(value: Any, pack: Pack) -> Any:
    if isinstance(value, Accepted):
        return (_ACCEPTED, *accepted_to_fields(value))
    try:
        pack(value, "fact")
    except NotStorable:
        return repr(value)
    return value
