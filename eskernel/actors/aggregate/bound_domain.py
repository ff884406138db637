"""BoundDomain: a user's domain module, checked once and ready to be called."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from types import CodeType
from typing import Any

from eskernel.codec import Codec, declared_types
from eskernel.errors import InvalidCommand, InvalidDomain, NotStorable
from eskernel.values import check_identifier

_KNOWN_TYPES = 1000
_REQUIRED = {"init": 0, "handle_command": 2, "apply_event": 2}


class BoundDomain:
    """The functions of one aggregate type, with the codec that knows its types.

    Args:
        name: the aggregate type.
        module: a module, or any object, with the functions of `eskernel.contracts.Domain`.

    Raises:
        InvalidDomain: a function is missing or takes other arguments, or the name is none.
    """

    __slots__ = (
        "apply_event",
        "event_type",
        "freeze",
        "handle_command",
        "init",
        "known_types",
        "name",
        "pack",
        "unpack",
        "version",
    )

    def __init__(self, name: str, module: Any) -> None:
        try:
            self.name = check_identifier("aggregate type", name)
        except InvalidCommand as error:
            raise InvalidDomain(str(error)) from None
        for function, arity in _REQUIRED.items():
            _check_function(name, module, function, arity)
        self.init: Callable[[], Any] = module.init
        self.handle_command: Callable[[Any, Any], Any] = module.handle_command
        self.apply_event: Callable[[Any, Any], Any] = module.apply_event
        self.event_type: Callable[[Any], str] | None = getattr(module, "event_type", None)
        if self.event_type is not None:
            _check_function(name, module, "event_type", 1)
        codec = Codec(declared_types(module))
        self.pack = codec.pack
        self.freeze = codec.freeze
        self.unpack = codec.unpack
        self.version = _version(module)
        # Event types found to be good, so that each is looked at once.
        self.known_types: set[str] = set()

    def name_event(self, payload: Any) -> str:
        """Return an event's type: what the domain's `event_type` says.

        Without one, a dict payload's `"type"` or the name of a dataclass payload's class.

        Raises:
            InvalidDomain: none of these is a string of 1 to 255 characters without NUL.
        """
        found: Any
        if self.event_type is not None:
            found = self.event_type(payload)
        elif isinstance(payload, dict):
            found = payload.get("type")
        else:
            found = type(payload).__name__ if is_dataclass(payload) else None
        if isinstance(found, str):
            return self._checked_type(found)
        if self.event_type is not None:
            raise InvalidDomain(f"event_type returned {found!r}, not a string, for {payload!r}")
        raise InvalidDomain(
            f"cannot tell the type of event {payload!r}: return dicts with a 'type' or "
            "dataclasses, or give the domain an event_type(payload) function"
        )

    def _checked_type(self, found: str) -> str:
        try:
            check_identifier("an event's type", found)
        except InvalidCommand as error:
            raise InvalidDomain(str(error)) from None
        if len(self.known_types) < _KNOWN_TYPES:
            self.known_types.add(found)
        return found

    def copy(self, value: Any) -> Any:
        """Return a copy that shares nothing mutable; what cannot be stored is its own copy."""
        try:
            return self.unpack(self.pack(value))
        except NotStorable:
            return value


def _check_function(name: str, module: Any, function: str, arity: int) -> None:
    found = getattr(module, function, None)
    first = "command" if function == "handle_command" else "payload"
    wanted = f"domain {name!r} needs a function {function}({', '.join((first, 'state')[:arity])})"
    if not callable(found):
        kind = type(module).__name__
        raise InvalidDomain(f"{wanted}, and {module!r} ({kind}) has none; pass the module itself")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # built-ins may not tell
        return
    try:
        signature.bind(*range(arity))
    except TypeError:
        advice = "; pass an instance, or make it static" if isinstance(module, type) else ""
        raise InvalidDomain(f"{wanted}, not {function}{signature}{advice}") from None


def _version(module: Any) -> str:
    """Return what tells whether a snapshot was made by the same code.

    That is the declared `version`, else a hash of the module's source, else of the functions'
    byte code for a domain whose source is not at hand.
    """
    declared = getattr(module, "version", None)
    if declared is not None:
        return str(declared)
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        functions = (getattr(module, function) for function in _REQUIRED)
        source = repr([_outline(getattr(function, "__code__", None)) for function in functions])
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _outline(code: Any) -> Any:
    """Return what a code object does, without the addresses and lines it has by chance."""
    if isinstance(code, frozenset):  # whose order changes from process to process
        return sorted(map(repr, code))
    if not isinstance(code, CodeType):
        return code
    return code.co_code, code.co_names, [_outline(constant) for constant in code.co_consts]
