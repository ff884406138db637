"""What cannot be stored exactly is refused, with the path of the first offending part."""

import collections
import datetime as dt
import enum
import threading
import zoneinfo
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import msgpack
import pytest
from codec_samples import CODEC, Line, Point

from eskernel.codec import Codec
from eskernel.errors import EskernelError, NotStorable


@dataclass(frozen=True)
class Undeclared:
    x: int


class UndeclaredEnum(enum.Enum):
    ONE = 1


class MyInt(int):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, _):
        return dt.timedelta(0)


Pair = collections.namedtuple("Pair", "a b")


@dataclass
class Unset:
    x: int = field(init=False)


def refusal(value, name="payload", codec=CODEC):
    with pytest.raises(NotStorable) as caught:
        codec.pack(value, name)
    return caught.value


FOREIGN = [
    bytearray(b"x"),
    memoryview(b"x"),
    msgpack.ExtType(5, b"x"),
    msgpack.ExtType(1, b""),
    msgpack.Timestamp(1),
    complex(1, 2),
    collections.OrderedDict(a=1),
    collections.defaultdict(int),
    collections.deque(),
    Pair(1, 2),
    MyInt(5),
    type("MyStr", (str,), {})("x"),
    type("MyFloat", (float,), {})(1.0),
    type("MyBytes", (bytes,), {})(b"x"),
    type("MyList", (list,), {})(),
    type("MySet", (set,), {})(),
    type("MyDatetime", (dt.datetime,), {})(2024, 1, 1),
    Fraction(1, 2),
    range(3),
    object(),
    len,
    lambda: None,
    int,
    Ellipsis,
    NotImplemented,
    threading.Lock(),
    ValueError("x"),
    Undeclared(1),
    UndeclaredEnum.ONE,
    "\ud800",
    "fine until \udfff",
    dt.datetime(2024, 1, 1, tzinfo=Zone()),
    dt.time(1, tzinfo=Zone()),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "\ud800")),
]


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("nested", [False, True])
def test_anything_else_is_refused_wherever_it_is(value, nested):
    if not nested:
        assert refusal(value).path == "payload"
        return
    assert refusal([b"", {"k": (1, value)}]).path == "payload[1]['k'][1]"
    assert refusal(Point(1, value)).path == "payload.y"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"lines": [1, 2, Line(object())]}, "payload['lines'][2].product"),
        ({(1, Undeclared(1)): 2}, "payload key (1, Undeclared(x=1))[1]"),
        ({msgpack.ExtType(1, b""): 2}, "payload key ExtType(code=1, data=b'')"),
        ([0, {memoryview}], "payload[1] element <class 'memoryview'>"),
        (frozenset({Undeclared(1)}), "payload element Undeclared(x=1)"),
        ([1, "\ud800", object()], "payload[1]"),
        ({"a": {"b": {1: b"", None: bytearray()}}}, "payload['a']['b'][None]"),
        ({"good": {1}, "bad": (bytearray(),)}, "payload['bad'][0]"),
        (Line(1, count=bytearray()), "payload.count"),
        ({10**5000: bytearray()}, "payload[<int>]"),
    ],
)
def test_the_path_leads_to_the_first_offending_part(value, path):
    error = refusal(value)
    assert error.path == path
    assert str(error).startswith(f"{path}: ")


def test_the_path_begins_with_the_given_name():
    assert refusal({"a": object()}, "metadata").path == "metadata['a']"


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (object(), "a value of type object cannot be stored: allowed are None, bool, int"),
        (bytearray(), "convert it with bytes(...)"),
        (memoryview(b""), "convert it with bytes(...)"),
        (collections.OrderedDict(), "collections.OrderedDict would come back as a plain dict"),
        (Pair(1, 2), "convert it with tuple(...)"),
        (MyInt(1), "convert it with int(...)"),
        (Undeclared(1), "Undeclared is not declared: add it to the domain's `types = (...)`"),
        (UndeclaredEnum.ONE, "the Enum test_refusals.UndeclaredEnum is not declared"),
        ("ab\ud800", "lone surrogate at 2"),
        (dt.time(1, tzinfo=Zone()), "neither a datetime.timezone nor a ZoneInfo with a key"),
    ],
)
def test_the_message_says_what_to_do(value, advice):
    assert advice in str(refusal([value]))


def test_the_refusal_is_an_eskernel_error_and_a_type_error():
    assert isinstance(refusal(object()), EskernelError)
    assert isinstance(refusal(object()), TypeError)


@pytest.mark.parametrize("key", [None, "Nowhere/Atlantis"])
def test_a_zone_that_nobody_could_find_again_is_refused(key):
    found = next(path for path in map(_zone_file, zoneinfo.TZPATH) if path)
    with found.open("rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file, key=key)
    assert refusal([dt.datetime(2024, 1, 1, tzinfo=zone)]).path == "payload[0]"


def _zone_file(folder):
    path = Path(folder, "Europe/Paris")
    return path if path.exists() else None


def test_a_field_without_a_value_is_refused():
    error = refusal([Unset()], codec=Codec([Unset]))
    assert error.path == "payload[0].x"
    assert "has no value" in str(error)


def _cyclic_list():
    items = [1]
    items.append(items)
    return items


def _cycle_through_everything():
    line = Line({"self": []})
    line.product["self"].append((1, line))
    return line


def _cycle_through_a_set():
    node = Node()
    node.peers.add(node)
    return node


@dataclass(eq=False)
class Node:
    peers: set = field(default_factory=set)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (_cyclic_list(), "payload[1]"),
        (_cycle_through_everything(), "payload.product['self'][0][1]"),
    ],
)
def test_a_cycle_is_refused(value, path):
    error = refusal(value)
    assert error.path == path
    assert "contains itself" in str(error)


def test_a_cycle_through_a_set_is_refused():
    assert "contains itself" in str(refusal(_cycle_through_a_set(), codec=Codec([Node])))


def test_one_part_in_two_places_is_no_cycle():
    shared = [1]
    assert CODEC.unpack(CODEC.pack([shared, shared, {"k": shared}])) == [[1], [1], {"k": [1]}]


@pytest.mark.parametrize("depth", [1025, 1026, 100_000])
@pytest.mark.parametrize("innermost", [None, [], {}, (), "text"])
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"k": inner}]
)
def test_too_deep_nesting_is_refused(wrap, depth, innermost):
    value = innermost
    for _ in range(depth):
        value = wrap(value)
    assert "too deep" in str(refusal(value))
    while value is not innermost:  # a deep tree must not be freed recursively at once
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]


@pytest.mark.parametrize("empty", [[], {}])
def test_an_empty_container_that_could_not_be_read_is_refused(empty):
    value = empty
    for _ in range(1024):
        value = [value]
    assert "too deep" in str(refusal(value))


@pytest.mark.parametrize(("depth", "accepted"), [(511, True), (512, True), (513, False)])
def test_a_dataclass_counts_as_two_containers(depth, accepted):
    value = 1
    for _ in range(depth):
        value = Point(value)
    if accepted:
        assert CODEC.pack(CODEC.unpack(CODEC.pack(value))) == CODEC.pack(value)
    else:
        assert "too deep" in str(refusal(value))


def test_sets_nested_too_deep_for_the_interpreter_are_refused():
    value = frozenset()
    for _ in range(5000):
        value = frozenset({value})
    assert isinstance(refusal(value), NotStorable)


def test_a_dict_that_changes_while_it_is_packed_is_refused():
    value = {}

    class Growing:
        pass

    codec = Codec()
    codec._encoders[Growing] = lambda _: value.setdefault(len(value), 1)
    value["grow"] = Growing()
    assert "changed size" in str(refusal(value, codec=codec))


def test_a_refusal_does_not_poison_the_next_pack():
    for _ in range(3):
        refusal([1, 2, {"k": object()}])
        assert CODEC.unpack(CODEC.pack([1])) == [1]


def test_running_out_of_memory_is_not_a_refusal():
    codec = Codec([Exhausting])
    with pytest.raises(MemoryError):
        codec.pack(Exhausting())


@dataclass
class Exhausting:
    x: int = 0

    def __getattribute__(self, name):
        if name == "x":
            raise MemoryError
        return object.__getattribute__(self, name)
