"""A user's projection module, checked: every message says what to do."""

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
import sqlalchemy as sa
from projecting_helpers import Sums

from eskernel.errors import InvalidProjection
from eskernel.projections import Definition
from eskernel.projections.bound import bind, checkpoints_of
from eskernel.projections.definition import MAX_NAME
from eskernel.projections.state_model import StateModel
from eskernel.projections.tables import TableModel
from eskernel.values import Event
from eskernel_stores import MemoryStore
from eskernel_stores.sql import SqlStore

TABLE = sa.Table("thing", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))


def init():
    return {}


def handle_event(event, state):
    return state


def module(**attributes):
    return SimpleNamespace(**{"init": init, "handle_event": handle_event, **attributes})


def refusal(given, name="totals", **more):
    with pytest.raises(InvalidProjection) as caught:
        Definition(name, given, **more)
    return str(caught.value)


def test_a_plain_module_is_enough():
    plain = ModuleType("plain")
    exec(
        "def init():\n    return 0\ndef handle_event(event, state):\n    return state + 1\n",
        plain.__dict__,
    )
    definition = Definition("totals", plain)
    assert definition.init() == 0
    assert definition.handle_event(None, 1) == 2
    assert (definition.tables, definition.event_types, definition.aggregate_types) == (
        *((), None),
        None,
    )


def test_a_missing_function_is_named_with_its_arguments():
    assert "projection 'totals' needs a function init()" in refusal(
        SimpleNamespace(handle_event=handle_event)
    )
    said = refusal(SimpleNamespace(init=init))
    assert "needs a function handle_event(event, state)" in said
    assert "pass the module itself" in said


def test_a_function_of_other_arguments_is_shown():
    assert "handle_event(event, state), not handle_event(event)" in refusal(
        module(handle_event=lambda event: None)
    )
    assert "event_filter(event), not event_filter()" in refusal(module(event_filter=lambda: True))
    assert "needs a function event_filter(event)" in refusal(module(event_filter=3))


def test_a_class_instead_of_its_instance_is_told_what_to_do():
    class Projecting:
        def init(self):
            return 0

        def handle_event(self, event, state):
            return state

    assert "pass an instance, or make it static" in refusal(Projecting)
    Definition("totals", Projecting())


@pytest.mark.parametrize("name", ["", 3, None, "a\0b", "\ud800", "x" * 300])
def test_a_name_that_is_none_is_refused(name):
    assert "a projection's name" in refusal(module(), name)


def test_a_name_has_a_greatest_length():
    Definition("x" * MAX_NAME, module())
    assert f"at most {MAX_NAME} characters" in refusal(module(), "x" * (MAX_NAME + 1))


@pytest.mark.parametrize("attribute", ["event_types", "aggregate_types"])
@pytest.mark.parametrize("names", ["deposited", 3, {"deposited", 4}, iter(["deposited"])])
def test_names_of_types_are_a_set_of_strings(attribute, names):
    said = refusal(module(**{attribute: names}))
    assert f"`{attribute}` must be a set of names" in said
    assert '{"deposited"}' in said


@pytest.mark.parametrize("names", [{"a"}, ("a",), ["a", "a"], frozenset("a")])
def test_names_of_types_may_be_any_collection(names):
    definition = Definition("totals", module(event_types=names, aggregate_types=names))
    assert definition.event_types == definition.aggregate_types == frozenset({"a"})


@pytest.mark.parametrize("tables", [(), [], 3, "thing", (TABLE, "thing")])
def test_tables_are_sqlalchemys(tables):
    assert "`tables` must be a tuple of SQLAlchemy tables" in refusal(
        module(handle_event=lambda event, connection: None, tables=tables)
    )


@pytest.mark.parametrize("tables", [TABLE, (TABLE,), [TABLE]])
def test_a_projection_with_tables_needs_no_init(tables):
    given = SimpleNamespace(handle_event=lambda event, connection: None, tables=tables)
    definition = Definition("totals", given)
    assert definition.tables == (TABLE,)
    given.handle_event = lambda event: None
    assert "needs a function handle_event(event, connection)" in refusal(given)


def test_types_that_are_no_collection_are_refused():
    said = refusal(module(types=3))
    assert said.startswith("projection 'totals':")
    assert "`types` must be a tuple of dataclasses and Enums" in said


def test_a_declared_version_counts_and_else_the_source_does():
    assert Definition("totals", module(version=3)).version == "3"
    first, second = module(), module(handle_event=lambda event, state: [*state, event])
    assert Definition("totals", first).version == Definition("totals", module()).version
    assert Definition("totals", first).version != Definition("totals", second).version
    filtered = module(event_filter=lambda event: True)
    assert Definition("totals", first).version != Definition("totals", filtered).version


def test_it_wants_what_the_filter_lets_through():
    event = Event(("thing", "a"), 1, "added", 3)
    assert Definition("totals", module()).wants(event)
    assert not Definition("totals", module(event_filter=lambda event: None)).wants(event)
    assert Definition("totals", module(event_filter=lambda event: [event])).wants(event)


@dataclass(frozen=True)
class Money:
    cents: int


def test_payloads_are_decoded_by_their_aggregate_type():
    event = Event(("thing", "a"), 1, "added", {"n": 3})
    sealed = event.sealed(lambda value, _name: b"packed", lambda packed: "the store's")
    definition = Definition("totals", module(), {"thing": lambda packed: Money(3)})
    assert definition.read(sealed).payload == Money(3)
    assert Definition("totals", module()).read(sealed).payload == "the store's"


def test_a_domain_is_told_that_it_is_none():
    assert "looks like a domain" in refusal(
        SimpleNamespace(init=init, handle_command=lambda command, state: [])
    )


def test_a_table_belongs_to_one_projection(tmp_path):
    given = SimpleNamespace(handle_event=lambda event, connection: None, tables=TABLE)
    store = SqlStore(f"sqlite:///{tmp_path / 'views.db'}")
    try:
        with pytest.raises(InvalidProjection, match="'one' and 'two' both have a table 'thing'"):
            bind({"one": given, "two": given}, {}, (store,))
    finally:
        store.close()


def test_projections_are_a_mapping_from_name_to_module():
    with pytest.raises(TypeError, match=r'a mapping such as \{"balances": balances\}, not list'):
        bind([Sums()], {}, (MemoryStore(),))


def test_what_is_bound_keeps_its_checkpoints_under_a_name_of_its_own():
    store = MemoryStore()
    bound = bind({"sums": Sums()}, {}, (None, store))["sums"]
    assert bound.store is store
    assert bound.key == "projection/sums"
    assert isinstance(bound.new_model(), StateModel)


def test_a_projection_with_tables_gets_a_model_that_keeps_them(tmp_path):
    given = SimpleNamespace(handle_event=lambda event, connection: None, tables=TABLE)
    store = SqlStore(f"sqlite:///{tmp_path / 'views.db'}")
    try:
        model = bind({"things": given}, {}, (store,))["things"].new_model()
        assert isinstance(model, TableModel)
        model.close()
    finally:
        store.close()


def test_tables_need_a_store_that_keeps_tables():
    given = SimpleNamespace(handle_event=lambda event, connection: None, tables=TABLE)
    with pytest.raises(InvalidProjection):
        bind({"things": given}, {}, (MemoryStore(),))


def test_without_a_place_for_checkpoints_it_is_said_where_there_is_one():
    with pytest.raises(InvalidProjection, match=r"checkpoint_store=open_store\('sqlite:///"):
        checkpoints_of("projection 'sums'", (None, object()))
    with pytest.raises(InvalidProjection, match="NoneType keeps no checkpoints"):
        checkpoints_of("projection 'sums'", (None,))
