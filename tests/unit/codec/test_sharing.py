"""One codec serves many threads, nested packs and interrupted packs."""

import random
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from codec_samples import CODEC, Color, Line, Point

from eskernel.codec import Codec


def tree(chance, depth=4):
    if depth == 0:
        return chance.choice([None, 2**70, "text", b"bytes", Color.RED, 1.5, Point(1, (2,))])
    parts = [tree(chance, depth - 1) for _ in range(chance.randint(0, 4))]
    return chance.choice([parts, tuple(parts), dict(enumerate(parts)), Line(parts)])


@pytest.mark.stress
def test_many_threads_pack_and_unpack_through_one_codec():
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  to run it again
    chance = random.Random(seed)
    samples = [(value, CODEC.pack(value)) for value in (tree(chance) for _ in range(200))]
    wrong = []
    codec = Codec([Color, Line, Point])

    def work(own):
        for _ in range(400):
            value, data = own.choice(samples)
            if codec.pack(value) != data or codec.unpack(data) != value:
                wrong.append(value)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(random.Random(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


@dataclass
class Nesting:
    """Packs again, by the same codec, while it is packed."""

    inner: Any
    packed: Any = field(default=None, compare=False)

    def __getattribute__(self, name):
        if name == "packed":
            return NESTING.pack(object.__getattribute__(self, "inner"))
        return object.__getattribute__(self, name)


NESTING = Codec([Nesting])


def test_packing_may_nest():
    value = ["before", Nesting(Nesting([1, (2,)])), "after"]
    assert NESTING.unpack(NESTING.pack(value)) == value


@dataclass
class Interrupting:
    x: int = 0
    armed = True

    def __getattribute__(self, name):
        if name == "x" and type(self).armed:
            raise KeyboardInterrupt
        return object.__getattribute__(self, name)


def test_an_interrupt_in_mid_pack_does_not_poison_the_next():
    codec = Codec([Interrupting])
    expected = codec.pack(["before", "after"])
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            codec.pack(["before", Interrupting(), "after"])
        assert codec.pack(["before", "after"]) == expected


def test_packers_are_used_again_but_not_those_with_huge_buffers():
    codec = Codec()
    codec.pack(1)
    codec.pack((2,))
    assert len(codec._idle) == 1
    codec.pack("x" * (1 << 21))
    assert codec._idle == []


def test_a_plain_payload_is_not_searched_for_foreign_types(monkeypatch):
    monkeypatch.setattr("eskernel.codec.codec.holds_foreign", None)
    assert Codec().pack({"type": "deposited", "amount": 100, "to": "José"})
