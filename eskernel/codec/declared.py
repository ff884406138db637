"""Which types a domain declares."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from eskernel.codec.records import is_storable_class
from eskernel.errors import InvalidDomain


def declared_types(module: Any) -> tuple[type, ...]:
    """Return the dataclasses and Enum classes that a domain may store.

    Args:
        module: a domain: a module, or any object with attributes.

    Returns:
        Those defined in the module itself, in order, and those in its `types`, if it has that.

    Raises:
        InvalidDomain: `types` is no collection.
    """
    name = getattr(module, "__name__", None)
    own = [
        value
        for value in getattr(module, "__dict__", {}).values()
        if is_storable_class(value) and value.__module__ == name
    ]
    listed = getattr(module, "types", ())
    if isinstance(listed, ModuleType):  # the domain imports the standard library's `types`
        listed = ()
    if not isinstance(listed, Iterable):
        raise InvalidDomain(
            f"a domain's `types` must be a tuple of dataclasses and Enums, not {listed!r}"
        )
    return tuple(dict.fromkeys((*own, *listed)))
