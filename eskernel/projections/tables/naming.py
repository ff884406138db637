"""Names of tables in their slots, and of indexes: short enough, and never the same twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

from eskernel.codec import Codec
from eskernel.errors import CorruptStore
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.values import SERVING

LONGEST: Final = 63
"""Bytes of a name that PostgreSQL tells from others."""
EXCHANGED: Final = "exchanged"
"""Where tables are for a moment while two slots change places; no slot of its own."""

SUFFIXES: Final = {
    SERVING: "",
    **{slot: f"__{slot}" for slot in (BUILDING, PREVIOUS, EXCHANGED)},
}
_DIGEST: Final = 8
_PLAIN: Final = Codec()


class TableName(NamedTuple):
    """A table as the projection declares it.

    Attributes:
        schema: None for the database's default.
        name: within the schema.
    """

    schema: str | None
    name: str

    def in_slot(self, slot: str) -> Self:
        """Return where the table is while it is in a slot."""
        return self._replace(name=fitting(self.name, SUFFIXES[slot]))

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


def fitting(name: str, suffix: str) -> str:
    """Return a name with a suffix, the name shortened if both would be too long.

    Of two long names that begin alike a digest tells which is which.
    """
    if len(f"{name}{suffix}".encode()) <= LONGEST:
        return f"{name}{suffix}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    room = LONGEST - len(suffix.encode()) - len(digest) - 1
    return f"{name.encode()[:room].decode(errors='ignore')}_{digest}{suffix}"


def packed(names: Iterable[TableName]) -> bytes:
    """Return what a checkpoint says as its state: which tables belong to it."""
    return _PLAIN.pack([list(name) for name in names], "tables")


def unpacked(state: bytes) -> tuple[TableName, ...]:
    """Return the names that `packed` made this of.

    Raises:
        CorruptStore: it cannot be read, as of a projection that kept no tables.
    """
    try:
        names: list[Any] = _PLAIN.unpack(state)
        return tuple(TableName(*name) for name in names)
    except (CorruptStore, TypeError, ValueError) as error:
        raise CorruptStore(
            f"a checkpoint does not say which tables belong to it: {error!r}; if the projection "
            "had a state before it had tables, give it another name"
        ) from error
