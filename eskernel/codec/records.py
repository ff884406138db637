"""Declared dataclasses and Enums: stored under their class names, built only if declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum, Flag
from typing import Any

from msgpack import ExtType

from eskernel.codec.containers import Head
from eskernel.codec.extensions import (
    ENUM,
    FLAG,
    RECORD,
    Decoder,
    Encoder,
    bytes_to_int,
    extension,
    int_to_bytes,
)
from eskernel.errors import InvalidDomain

_BUILTINS = (BaseException, bytearray, bytes, dict, float, frozenset, int, list, set, str, tuple)


class Record:
    """How one dataclass is taken apart and built again.

    Attributes:
        cls: the dataclass.
        names: its fields, in order.

    Raises:
        InvalidDomain: its constructor does not take exactly its fields.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.names = tuple(field.name for field in fields(cls))
        given = {field.name for field in fields(cls) if field.init}
        if set(inspect.signature(cls).parameters) != given:
            raise InvalidDomain(
                f"dataclass {cls.__qualname__} cannot be stored: its constructor must take "
                "exactly its fields (no InitVar, no __init__ of its own)"
            )
        if issubclass(cls, _BUILTINS):
            raise InvalidDomain(
                f"dataclass {cls.__qualname__} cannot be stored: it must not inherit from a "
                "built-in type, whose content is not in its fields"
            )
        self._head = ExtType(RECORD, cls.__name__.encode())
        self._known = frozenset(self.names)
        self._given = given
        # A __post_init__ must not change what was stored, so its effects are overwritten.
        everything = hasattr(cls, "__post_init__")
        self._restored = [name for name in self.names if everything or name not in given]

    def encode(self, record: Any) -> list[Any]:
        """Return the head and a map of the fields."""
        return [self._head, dict(zip(self.names, self.values(record), strict=True))]

    def values(self, record: Any) -> list[Any]:
        """Return the values of the fields, in order."""
        return [getattr(record, name) for name in self.names]

    def build(self, items: list[Any]) -> Any:
        """Return the dataclass instance that `encode` took apart.

        Raises:
            InvalidDomain: the class no longer has a stored field, or its constructor raised.
        """
        _, stored = items
        if unknown := stored.keys() - self._known:
            raise InvalidDomain(
                f"dataclass {self.cls.__qualname__} has no field {unknown.pop()!r}, but stored "
                "data has: keep the field, or read old data with the old class"
            )
        try:
            return self._construct(stored)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            raise InvalidDomain(
                f"dataclass {self.cls.__qualname__} cannot be built from its stored fields "
                f"({', '.join(stored)}): {error}; give later fields a default"
            ) from error

    def _construct(self, stored: dict[str, Any]) -> Any:
        if not self._restored:
            return self.cls(**stored)
        record = self.cls(**{name: stored[name] for name in stored if name in self._given})
        for name in self._restored:
            if name in stored:
                object.__setattr__(record, name, stored[name])  # frozen classes too
        return record


class DeclaredTypes:
    """Encoders and decoders of a set of dataclasses and Enum classes.

    Args:
        types: the classes.

    Attributes:
        encoders: by exact type.
        decoders: by extension code.
        records: the dataclasses among them.

    Raises:
        InvalidDomain: one is neither a dataclass nor an Enum, two have one name, or one cannot
            be stored.
    """

    def __init__(self, types: Iterable[type]) -> None:
        self.encoders: dict[type, Encoder] = {}
        self.records: dict[type, Record] = {}
        self._classes: dict[bytes, Any] = {}
        self._heads: dict[bytes, Head] = {}
        for cls in dict.fromkeys(types):
            self._declare(cls)
        self.decoders: dict[int, Decoder] = {
            RECORD: self._read_head,
            ENUM: self._member_reader(lambda cls, data: cls.__members__[data.decode()]),
            FLAG: self._member_reader(lambda cls, data: cls(bytes_to_int(data))),
        }

    def _declare(self, cls: Any) -> None:
        if not is_storable_class(cls):
            raise InvalidDomain(f"declared type {cls!r} is neither a dataclass nor an Enum class")
        name = cls.__name__.encode()
        if (other := self._classes.setdefault(name, cls)) is not cls:
            raise InvalidDomain(
                f"two declared types are named {cls.__name__}: {other!r} and {cls!r}; "
                "stored data tells types apart by name, so rename one"
            )
        if issubclass(cls, Enum):
            self.encoders[cls] = _member_encoder(cls, name)
        else:
            record = self.records[cls] = Record(cls)
            self.encoders[cls] = record.encode
            self._heads[name] = Head(record.build)

    def _read_head(self, name: bytes) -> Head:
        try:
            return self._heads[name]
        except KeyError:
            raise _undeclared("dataclass", name) from None

    def _member_reader(self, read: Callable[[Any, bytes], Any]) -> Decoder:
        def decode(data: bytes) -> Any:
            name, _, member = data.partition(b"\0")
            cls = self._classes.get(name)
            if cls is None or cls in self.records:
                raise _undeclared("Enum", name)
            try:
                return read(cls, member)
            except (KeyError, ValueError) as error:
                raise InvalidDomain(
                    f"Enum {cls.__qualname__} has no member for stored {member!r}: keep it, "
                    "perhaps as an alias"
                ) from error

        return decode


def is_storable_class(cls: Any) -> bool:
    """Return whether `cls` is a dataclass or an Enum class."""
    return isinstance(cls, type) and (is_dataclass(cls) or issubclass(cls, Enum))


def _member_encoder(cls: type[Enum], name: bytes) -> Encoder:
    if issubclass(cls, Flag):
        return lambda member: extension(FLAG, b"%b\0%b" % (name, int_to_bytes(member._value_)))
    return lambda member: extension(ENUM, b"%b\0%b" % (name, member._name_.encode()))


def _undeclared(kind: str, name: bytes) -> InvalidDomain:
    shown = name.decode(errors="backslashreplace")
    return InvalidDomain(
        f"stored data holds the {kind} {shown}, which is not declared: add it to the domain's "
        "`types = (...)`, and to the `types` of a store that is read without a kernel"
    )
