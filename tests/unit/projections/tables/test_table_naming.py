import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eskernel.errors import CorruptStore
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.projections.tables.naming import TableName, fitting, packed, unpacked
from eskernel.values import SERVING

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=90)


@pytest.mark.parametrize(
    ("slot", "name"),
    [(SERVING, "orders"), (BUILDING, "orders__building"), (PREVIOUS, "orders__previous")],
)
def test_a_table_is_named_after_its_slot(slot, name):
    assert TableName(None, "orders").in_slot(slot).name == name
    assert str(TableName("shop", "orders").in_slot(slot)) == f"shop.{name}"


@given(NAMES)
def test_no_name_is_longer_than_postgresql_allows(name):
    found = fitting(name, "__building")
    assert len(found.encode()) <= 63
    assert found.endswith("__building")


@given(NAMES, NAMES)
def test_names_that_differ_differ_in_every_slot(one, other):
    assume(one != other)
    assert fitting(one, "__previous") != fitting(other, "__previous")


def test_long_names_that_begin_alike_stay_apart():
    one, other = "x" * 63, "x" * 62 + "y"
    assert fitting(one, "__building") != fitting(other, "__building")
    assert fitting(one, "") == one


def test_a_checkpoint_tells_which_tables_it_belongs_to():
    names = (TableName(None, "orders"), TableName("shop", "lines"))
    assert unpacked(packed(names)) == names


@pytest.mark.parametrize("state", [b"", b"\x01", b"\xc1"])
def test_the_state_of_another_kind_of_projection_is_reported(state):
    with pytest.raises(CorruptStore, match="does not say which tables"):
        unpacked(state)
