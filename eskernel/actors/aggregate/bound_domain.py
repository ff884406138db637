"""BoundDomain: a user's domain module, checked once and ready to be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any

from eskernel.codec import Codec, declared_types
from eskernel.contracts.modules import check_function, version_of
from eskernel.errors import InvalidCommand, InvalidDomain, NotStorable
from eskernel.values import check_identifier

_KNOWN_TYPES = 1000
_REQUIRED = {
    "init": (),
    "handle_command": ("command", "state"),
    "apply_event": ("payload", "state"),
}


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
        "declares",
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
        what = f"domain {name!r}"
        for function, arguments in _REQUIRED.items():
            check_function(InvalidDomain, what, module, function, arguments)
        self.init: Callable[[], Any] = module.init
        self.handle_command: Callable[[Any, Any], Any] = module.handle_command
        self.apply_event: Callable[[Any, Any], Any] = module.apply_event
        self.event_type: Callable[[Any], str] | None = getattr(module, "event_type", None)
        if self.event_type is not None:
            check_function(InvalidDomain, what, module, "event_type", ("payload",))
        declared = declared_types(module)
        self.declares = bool(declared)
        codec = Codec(declared)
        self.pack = codec.pack
        self.freeze = codec.freeze
        self.unpack = codec.unpack
        self.version = version_of(module, _REQUIRED)
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


def unpackers_of(domains: Mapping[str, BoundDomain]) -> dict[str, Callable[[bytes], Any]]:
    """Return, by aggregate type, what decodes payloads that a store alone could not decode."""
    return {name: domain.unpack for name, domain in domains.items() if domain.declares}
