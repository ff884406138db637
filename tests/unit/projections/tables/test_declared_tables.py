from enum import Enum as Choice

import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import DOMAIN

from eskernel.errors import InvalidProjection
from eskernel.projections.tables.declared import check_tables


class Status(Choice):
    NEW = 1


class Wrapped(TypeDecorator):
    impl = Enum(Status)
    cache_ok = True


def table(*columns, name="orders", metadata=None, **options):
    key = Column("id", Integer, primary_key=True)
    return Table(name, MetaData() if metadata is None else metadata, key, *columns, **options)


@pytest.mark.parametrize(
    "column",
    [
        Column("status", Enum(Status, native_enum=False)),
        Column("status", ARRAY(String)),
        Column("status", BigInteger, server_default="0", index=True),
    ],
    ids=str,
)
def test_ordinary_tables_are_good(column):
    check_tables("orders", [table(column), table(name="lines", schema="shop")])


@pytest.mark.parametrize("name", ["eskernel_orders", "Eskernel_x"])
def test_the_kernels_own_names_are_refused(name):
    with pytest.raises(InvalidProjection, match="the kernel's own; choose another"):
        check_tables("orders", [table(name=name)])


@pytest.mark.parametrize("name", ["a__building", "a__PREVIOUS_b", "a__exchanged"])
def test_names_of_rebuilds_are_refused(name):
    with pytest.raises(InvalidProjection, match="those of rebuilds; choose another"):
        check_tables("orders", [table(name=name)])


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32])
def test_names_that_postgresql_would_cut_are_refused(name):
    with pytest.raises(InvalidProjection, match="1 to 63 bytes"):
        check_tables("orders", [table(name=name)])


def test_names_that_sqlite_takes_for_the_same_are_refused():
    with pytest.raises(InvalidProjection, match="two tables orders; rename one"):
        check_tables("orders", [table(), table(name="Orders")])


def test_foreign_keys_are_refused():
    metadata = MetaData()
    orders = table(metadata=metadata)
    lines = table(Column("order", ForeignKey("orders.id")), name="lines", metadata=metadata)
    with pytest.raises(InvalidProjection, match="table lines: it has a foreign key"):
        check_tables("orders", [orders, lines])


@pytest.mark.parametrize(
    "kind", [Enum(Status), Wrapped(), ARRAY(Enum(Status)), DOMAIN("cents", BigInteger)], ids=repr
)
def test_types_that_copies_would_share_are_refused(kind):
    with pytest.raises(InvalidProjection, match="column status is an object of the database"):
        check_tables("orders", [table(Column("status", kind))])


def test_sequences_that_copies_would_share_are_refused():
    numbered = Column("number", Integer, Sequence("numbers"))
    with pytest.raises(InvalidProjection, match="column number takes numbers from a sequence"):
        check_tables("orders", [table(numbered)])


def test_temporary_tables_are_refused():
    with pytest.raises(InvalidProjection, match="no ordinary table"):
        check_tables("orders", [table(prefixes=["TEMPORARY"])])
