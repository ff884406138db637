"""What tables a projection may declare: those that can stand beside copies of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Enum, ForeignKeyConstraint, Sequence, Table
from sqlalchemy.types import TypeDecorator

from eskernel.errors import InvalidProjection
from eskernel.projections.tables.naming import LONGEST, SUFFIXES

_OURS = "eskernel_"


def check_tables(projection: str, tables: Iterable[Table]) -> None:
    """Raise unless a rebuild could make each table again beside the one that serves.

    Args:
        projection: its name, for the message.
        tables: as declared.

    Raises:
        InvalidProjection: it could not; the message says what to change.
    """
    seen: set[str] = set()
    for table in tables:
        for problem in _problems(table):
            raise InvalidProjection(f"projection {projection!r}, table {table.fullname}: {problem}")
        name = str(table.name).lower()  # SQLite knows no other difference
        if name in seen:
            raise InvalidProjection(
                f"projection {projection!r} declares two tables {name}; rename one of them"
            )
        seen.add(name)


def _problems(table: Table) -> Iterator[str]:
    yield from _problems_of_name(str(table.name))
    if any(isinstance(constraint, ForeignKeyConstraint) for constraint in table.constraints):
        yield (
            "it has a foreign key, which would not follow when a rebuilt table takes another's "
            "place; leave it out: events are facts, and need no check"
        )
    if getattr(table, "_prefixes", None):
        yield "it is no ordinary table; leave prefixes such as TEMPORARY out, or it may lose rows"
    for column in table.columns:
        if _has_named_type(column.type):
            yield (
                f"the type of column {column.name} is an object of the database, which copies of "
                "the table would share; write Enum(..., native_enum=False), or a plain type"
            )
        if isinstance(column.default, Sequence):
            yield (
                f"column {column.name} takes numbers from a sequence, which copies of the table "
                "would share; leave it out, or write Identity()"
            )


def _problems_of_name(name: str) -> Iterator[str]:
    if name.lower().startswith(_OURS):
        yield f"names that begin with {_OURS} are the kernel's own; choose another"
    for suffix in filter(None, SUFFIXES.values()):
        if suffix in name.lower():
            yield f"names with {suffix} in them are those of rebuilds; choose another"
    if not name or "\0" in name or len(name.encode(errors="replace")) > LONGEST:
        yield f"a name has 1 to {LONGEST} bytes, for PostgreSQL's sake; choose another"


def _has_named_type(kind: Any) -> bool:
    if isinstance(kind, TypeDecorator):
        return _has_named_type(kind.impl_instance)
    if isinstance(kind, Enum):
        return bool(kind.native_enum)
    if hasattr(kind, "item_type"):  # an array
        return _has_named_type(kind.item_type)
    return hasattr(kind, "create_type")  # PostgreSQL's ENUM and DOMAIN
