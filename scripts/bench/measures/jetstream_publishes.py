"""64 callers on a JetStreamStore against nats-py alone: 64 publishes at a time.

Each of the rival's publishes waits for its acknowledgement; its payload is as long as ours. The
cluster has three nodes, each with a copy of both streams, that sync every message to disk; with
the server's own sync_interval, of two minutes, the figure only informs.
"""

from __future__ import annotations

from contextlib import closing

from eskernel_stores import open_store
from scripts.bench.accounts import running
from scripts.bench.callers import MORE, callers_load
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import nats
from scripts.bench.rivals.raw_nats import RawPublishes
from scripts.bench.timing import Load, Say, alternate, rounds, scaled

_COMMANDS, _ROUNDS = 4_800, 11


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio, and the one with the server's own sync_interval."""
    return [
        _compare("always", 0.4, scale, say),
        _compare(None, None, scale, say),
    ]


def _compare(sync_interval: str | None, at_least: float | None, scale: float, say: Say) -> Figure:
    count = scaled(_COMMANDS, scale, MORE)
    latencies = Latencies()
    say("starting three nodes")
    with nats(sync_interval) as servers:
        url = servers.new_url()
        with (
            closing(open_store(url)) as store,
            closing(RawPublishes(url)) as raw,
            running(store=store) as kernel,
        ):
            payload = raw.payload()
            ours = callers_load(kernel, MORE, count, latencies=latencies)
            theirs = Load(count, lambda: raw.publish(payload, count))
            rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    synced = "" if sync_interval else ", synced every 2 minutes"
    name = f"JetStream{synced}, {MORE} callers, against raw publishes"
    return latencies.beside(rates.figure(name, at_least))
