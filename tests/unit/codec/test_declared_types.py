"""Dataclasses and Enums come back only if declared, and classes may grow."""

import enum
import types
from dataclasses import InitVar, dataclass, field, make_dataclass

import codec_samples
import pytest
from codec_samples import CODEC, TYPES, Access, Color, Counter, Level, Line, Point

from eskernel.codec import Codec, declared_types
from eskernel.errors import InvalidDomain


def renamed(cls, name="Point"):
    cls.__name__ = name
    return cls


def test_a_later_field_with_a_default_reads_old_bytes():
    new = make_dataclass("Point", ["x", "y", ("z", int, field(default=7))], frozen=True)
    assert Codec([new]).unpack(CODEC.pack(Point(1, 2))) == new(1, 2, 7)


def test_a_later_field_that_the_constructor_does_not_take_reads_old_bytes():
    new = make_dataclass("Point", ["x", "y", ("z", int, field(default=7, init=False))])
    assert Codec([new]).unpack(CODEC.pack(Point(1, 2))) == new(1, 2)


def test_fields_may_change_their_order():
    new = make_dataclass("Point", ["y", "x"])
    assert Codec([new]).unpack(CODEC.pack(Point(1, 2))) == new(y=2, x=1)


def test_a_removed_field_is_named():
    new = make_dataclass("Point", ["x"])
    with pytest.raises(InvalidDomain, match="Point has no field 'y'"):
        Codec([new]).unpack(CODEC.pack(Point(1, 2)))


def test_a_later_field_without_a_default_is_named():
    new = make_dataclass("Point", ["x", "y", "z"])
    with pytest.raises(InvalidDomain, match=r"'z'.*give later fields a default"):
        Codec([new]).unpack(CODEC.pack(Point(1, 2)))


@pytest.mark.parametrize("problem", [ValueError("negative"), AssertionError()])
def test_a_constructor_that_refuses_old_values_is_named(problem):
    @dataclass
    class Strict:
        x: int
        y: int

        def __post_init__(self):
            raise problem

    with pytest.raises(InvalidDomain, match="cannot be built") as caught:
        Codec([renamed(Strict)]).unpack(CODEC.pack(Point(1, 2)))
    assert caught.value.__cause__ is problem


def test_running_out_of_memory_in_a_constructor_is_not_the_domains_fault():
    @dataclass
    class Greedy:
        x: int
        y: int

        def __post_init__(self):
            raise MemoryError

    with pytest.raises(MemoryError):
        Codec([renamed(Greedy)]).unpack(CODEC.pack(Point(1, 2)))


def test_what_post_init_does_is_not_done_twice():
    assert CODEC.unpack(CODEC.pack(Counter(1))) == Counter(1)


def test_fields_outside_the_constructor_are_restored():
    line = Line("apple", count=2)
    line.total = 9
    copy = CODEC.unpack(CODEC.pack(line))
    assert (copy.product, copy.count, copy.total) == ("apple", 2, 9)


def test_members_come_back_as_themselves():
    members = [Color.RED, Level.HIGH, Access.READ | Access.WRITE]
    assert all(a is b for a, b in zip(CODEC.unpack(CODEC.pack(members)), members, strict=True))


def test_a_renamed_member_is_read_by_its_old_name_as_an_alias():
    new = enum.Enum("Color", {"CRIMSON": "r", "RED": "r"})
    assert Codec([new]).unpack(CODEC.pack(Color.RED)) is new.CRIMSON


@pytest.mark.parametrize("value", [Color.RED, Access.READ | Access.WRITE])
def test_a_removed_member_is_named(value):
    kind = enum.Flag if isinstance(value, enum.Flag) else enum.Enum
    new = kind(type(value).__name__, {"OTHER": 1})
    with pytest.raises(InvalidDomain, match=f"{type(value).__name__} has no member"):
        Codec([new]).unpack(CODEC.pack(value))


@pytest.mark.parametrize("value", [Point(1), Color.RED, Access.READ, {(Point(1), 2): Level.LOW}])
def test_an_undeclared_type_in_the_bytes_is_named(value):
    with pytest.raises(InvalidDomain, match=r"not declared: add it to the domain's `types"):
        Codec().unpack(CODEC.pack(value))


def test_a_dataclass_is_not_an_enum_of_the_same_name():
    point = enum.Enum("Point", "ONE")
    with pytest.raises(InvalidDomain, match="the Enum Point"):
        CODEC.unpack(Codec([point]).pack(point.ONE))
    with pytest.raises(InvalidDomain, match="the dataclass Point"):
        Codec([point]).unpack(CODEC.pack(Point(1)))


@dataclass
class WithInitVar:
    x: int
    scale: InitVar[int] = 1


@dataclass
class WithOwnInit:
    x: int

    def __init__(self, text):
        self.x = int(text)


@dataclass(init=False)
class WithoutInit:
    x: int


@dataclass
class WithContent(dict):
    x: int = 0


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (int, "neither a dataclass nor an Enum"),
        ("Point", "neither a dataclass nor an Enum"),
        (Point(1), "neither a dataclass nor an Enum"),
        (WithInitVar, "WithInitVar.*no InitVar"),
        (WithOwnInit, "WithOwnInit.*exactly its fields"),
        (WithoutInit, "WithoutInit.*exactly its fields"),
        (WithContent, "must not inherit from a built-in"),
    ],
)
def test_a_type_that_cannot_be_stored_cannot_be_declared(declared, problem):
    with pytest.raises(InvalidDomain, match=problem):
        Codec([declared])


@pytest.mark.parametrize("other", [make_dataclass("Point", []), enum.Enum("Point", "ONE")])
def test_two_types_of_one_name_cannot_be_declared(other):
    with pytest.raises(InvalidDomain, match="two declared types are named Point"):
        Codec([Point, other])


def test_one_type_may_be_declared_twice():
    assert Codec([Point, Point]).unpack(Codec([Point]).pack(Point(1))) == Point(1)


def test_a_module_declares_the_types_it_defines():
    assert declared_types(codec_samples) == TYPES_IN_ORDER


TYPES_IN_ORDER = tuple(sorted(TYPES, key=list(vars(codec_samples).values()).index))


def test_a_module_declares_the_types_it_lists_too():
    module = types.ModuleType("shop")
    module.imported, module.types = Color, (Point, Point)
    assert declared_types(module) == (Point,)


def test_an_object_without_a_name_declares_what_it_lists():
    assert declared_types(types.SimpleNamespace(types=[Color], cls=Point)) == (Color,)
    assert declared_types(types.SimpleNamespace()) == ()
    assert declared_types(object()) == ()


def test_a_domain_may_import_the_module_types():
    module = types.ModuleType("shop")
    module.types = types
    assert declared_types(module) == ()
