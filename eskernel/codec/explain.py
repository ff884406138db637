"""Finding what in a value cannot be stored. Off the fast path: packing has failed already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from itertools import chain
from reprlib import repr as short_repr
from typing import Any, Final

from eskernel.codec.extensions import Encoder
from eskernel.codec.foreign import FOREIGN
from eskernel.codec.records import Record
from eskernel.errors import NotStorable

MAX_DEPTH: Final = 1024
"""Containers inside one another that msgpack reads; a dataclass counts as two."""

_NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict})
_BASES: Final = (bytes, dict, float, frozenset, int, list, set, str, tuple)
_ALLOWED: Final = (
    "allowed are None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, datetime, "
    "date, time, timedelta, Decimal, UUID, and dataclasses and Enums the domain declares"
)
_UNSET: Final = object()
_Children = Iterator[tuple[str, Any]]


class Explainer:
    """Finds the first part of a value that cannot be stored.

    Args:
        encoders: of what msgpack lacks, by exact type.
        records: the declared dataclasses.
        pack: packs a single scalar, or raises.
    """

    def __init__(
        self,
        encoders: dict[type, Encoder],
        records: dict[type, Record],
        pack: Callable[[Any], bytes],
    ) -> None:
        self._encoders = encoders
        self._records = records
        self._pack = pack

    def explain(self, value: Any, name: str, error: Exception | None) -> NotStorable:
        """Return the error that names the offending part.

        Args:
            value: what could not be packed.
            name: what to call it.
            error: what packing it raised, the answer if no part of it is at fault.
        """
        branches: list[_Children] = [iter([(name, value)])]
        depths = [0]
        above: list[Any] = [None]
        while branches:
            path, part = next(branches[-1], (None, None))
            if path is None:
                for stack in (branches, depths, above):
                    stack.pop()
                continue
            kind, depth = type(part), depths[-1]
            problem = self._problem(part)
            if problem is not None:
                return NotStorable(path, problem)
            if (children := self._children(path, part)) is None:
                continue
            if any(part is other for other in above):
                return NotStorable(path, "contains itself; only trees of values can be stored")
            depth += 2 if kind in self._records else 1
            if depth > MAX_DEPTH:
                return NotStorable(path, f"nested too deep, in {MAX_DEPTH} containers or more")
            branches.append(children)
            depths.append(depth)
            above.append(part)
        return NotStorable(name, f"cannot be packed: {type(error).__name__}: {error}")

    def _problem(self, part: Any) -> str | None:
        kind = type(part)
        if kind in FOREIGN or (kind not in _NATIVE and kind not in self._encoders):
            return _refusal(part)
        if kind in self._records or kind in (list, dict, tuple, set, frozenset):
            return None
        try:
            self._pack(part)
        except UnicodeEncodeError as error:
            return f"the {kind.__name__} has a lone surrogate at {error.start}, which UTF-8 lacks"
        except (LookupError, OSError, ValueError) as error:  # a tzinfo, or 4 GiB of text
            return str(error)
        return None

    def _children(self, path: str, part: Any) -> _Children | None:
        kind = type(part)
        if kind in (list, tuple):
            return ((f"{path}[{index}]", item) for index, item in enumerate(part))
        if kind is dict:
            return chain.from_iterable(
                ((f"{path} key {_brief(key)}", key), (f"{path}[{_brief(key)}]", item))
                for key, item in list(part.items())  # it may change under us
            )
        if kind in (set, frozenset):
            return ((f"{path} element {_brief(item)}", item) for item in part)
        if kind in self._records:
            names = self._records[kind].names
            return ((f"{path}.{name}", getattr(part, name, _UNSET)) for name in names)
        return None


def _brief(part: Any) -> str:
    try:
        return short_repr(part)
    except ValueError:  # an int of more digits than Python prints
        return f"<{type(part).__name__}>"


def _refusal(part: Any) -> str:
    if part is _UNSET:
        return "the field has no value"
    kind = type(part)
    shown = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(part, Enum) or is_dataclass(kind):
        what = "Enum" if isinstance(part, Enum) else "dataclass"
        return (
            f"the {what} {shown} is not declared: add it to the domain's `types = (...)`, "
            "or to the store's"
        )
    if kind in (bytearray, memoryview):
        return f"a {shown} cannot be stored: convert it with bytes(...)"
    base = next((base for base in _BASES if isinstance(part, base)), None)
    if base is not None:
        name = base.__name__
        return f"a {shown} would come back as a plain {name}: convert it with {name}(...)"
    return f"a value of type {shown} cannot be stored: {_ALLOWED}"
