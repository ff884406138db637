"""Stores to copy, and what must be the same in a copy."""

from __future__ import annotations

import random
from contextlib import ExitStack

from backends import new_url

from eskernel.codec import Codec
from eskernel.testing.conformance.samples import ALIKE, IDENTIFIERS, PAYLOADS
from eskernel.values import Event
from eskernel_stores import open_store


def opener(tmp_path, request):
    """A fixture: opens stores by the name of their backend, and closes them after the test."""
    with ExitStack() as stack:

        def open_backend(kind, name):
            store = open_store(new_url(kind, tmp_path / name, request))
            stack.callback(store.close)
            return store

        yield open_backend


class Single:
    """A store without append_batch."""

    def __init__(self, inner):
        self.append, self.fold, self.fold_all = inner.append, inner.fold, inner.fold_all
        self.last_position, self.close = inner.last_position, inner.close


def append(store, stream_id, *payloads, **attributes):
    """Append events of these payloads, all alike but for that."""
    before = store.fold(stream_id, lambda number, event: number + 1, 0)
    events = [
        Event(stream_id, sequence, "happened", payload)._replace(**attributes)
        for sequence, payload in enumerate(payloads, before + 1)
    ]
    return store.append(stream_id, events, expected_sequence=before)


def fill(store, seed=0):
    """Fill a store with every sample payload and awkward name, in appends of several events."""
    rng = random.Random(seed)
    streams = [("t", name) for name in IDENTIFIERS] + [*ALIKE, ("bank_account", "acc-1")] * 3
    payloads = list(PAYLOADS) * 3
    for number in range(150):
        append(
            store,
            rng.choice(streams),
            *rng.choices(payloads, k=rng.choice((1, 1, 2, 5))),
            type=rng.choice(("happened", "\U0001f600 Happened ", "a\nb")),
            header={"number": number, "": [payloads[number % len(payloads)]]} if number % 3 else {},
            tags=tuple(rng.choices(("vip", "", "\U0001f600 'quoted'"), k=number % 3)),
            timestamp=rng.randrange(2**53),
            command_id=rng.choice((None, f"c-{number}")),
        )
    return store


def fill_plainly(store, events, streams):
    """Fill a store with appends of one event to so many streams in turn."""
    for number in range(events):
        sequence, stream = divmod(number, streams)
        stream_id = ("bank_account", f"acc-{stream}")
        event = Event(stream_id, sequence + 1, "deposited", {"amount": number}, timestamp=number)
        store.append(stream_id, [event], expected_sequence=sequence)
    return store


def said_by(event, codec):
    """Return everything a copy keeps of an event, types and order of keys included."""
    payload, metadata = codec.pack(event.payload), codec.pack(dict(event.metadata))
    rest = (event.tags, event.timestamp, event.command_id)
    return (event.stream_id, event.sequence, event.type, payload, metadata, *rest)


def log_of(store, types=()):
    """Return what the events of the log say, in order."""
    codec = Codec(types)
    return store.fold_all(lambda found, event: [*found, said_by(event, codec)], [])[0]


def streams_of(store, streams):
    """Return what the events of each stream say, read by itself."""
    codec = Codec()
    return {
        stream_id: store.fold(stream_id, lambda found, event: [*found, said_by(event, codec)], [])
        for stream_id in streams
    }


def assert_copied(source, target):
    """Fail unless logs and streams say the same."""
    log = log_of(source)
    assert log_of(target) == log
    streams = {event[0] for event in log}
    assert streams_of(target, streams) == streams_of(source, streams)
