"""Bringing an aggregate with 10,000 events back from JetStream and from MongoDB.

Timed is the first read of its state by a kernel that has not seen it; the median of five. The
fewer events one append has, the more messages or documents there are to read. MongoDB's one by one
only informs: the server that stands for MongoDB here finds documents slowly, which a raw find of
the same documents shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from statistics import median

from eskernel_stores import open_store
from scripts.bench.figure import Figure, a_second
from scripts.bench.places import mongo, nats
from scripts.bench.rehydrating import AT_ONCE, LENGTH, ONE_BY_ONE, rehydrate_each_way
from scripts.bench.rivals.raw_pymongo import RawFind
from scripts.bench.timing import Load, Say, rounds, scaled, take_turns

_ROUNDS = 5
_TARGET = 50_000
"""Events a second."""


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the events a second from both, and the documents a second of a raw find."""
    return [*_from_jetstream(scale, say), *_from_mongo(scale, say)]


def _from_jetstream(scale: float, say: Say) -> list[Figure]:
    say("starting three nodes")
    with nats() as servers, closing(open_store(servers.new_url())) as store:
        rates = rehydrate_each_way(store, scale, say)
    return [_figure("JetStream", how, rates[how], _TARGET) for how in AT_ONCE]


def _from_mongo(scale: float, say: Say) -> list[Figure]:
    say("starting a server")
    with mongo() as server:
        url = server.new_url()
        with closing(open_store(url)) as store, closing(RawFind(url)) as raw:
            rates = rehydrate_each_way(store, scale, say)
            found = _find(raw, scale, say)
    targets = {how: None if how == ONE_BY_ONE else _TARGET for how in AT_ONCE}
    return [*(_figure("MongoDB", how, rates[how], targets[how]) for how in AT_ONCE), found]


def _find(raw: RawFind, scale: float, say: Say) -> Figure:
    length = scaled(LENGTH, scale)

    def find() -> None:
        assert raw.find(ONE_BY_ONE) == length

    rates = take_turns(rounds(_ROUNDS, scale), {"": Load(length, find)}, say)[""]
    rate = median(rates)
    name = "MongoDB, a raw find of the documents appended one by one"
    return Figure(name, rate, "/s", a_second(rate), details={"rates": rates})


def _figure(where: str, how: str, rates: Sequence[float], at_least: float | None) -> Figure:
    rate = median(rates)
    name = f"{where}, rehydrate a stream of {LENGTH:,} events appended {how}"
    shown = f"{a_second(rate)}; slowest {a_second(min(rates))}"
    return Figure(name, rate, "/s", shown, at_least=at_least, details={"rates": rates})
