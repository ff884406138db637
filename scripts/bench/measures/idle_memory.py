"""Memory per idle live aggregate, its state aside.

Resident memory of two fresh processes, see `scripts.bench.resident`: one dispatched a command to
each of 100,000 aggregates, which are all live; the other appended the same events to the same kind
of store and keeps the same states in a dict. The difference, divided by their number, is what a
live aggregate adds: its actor and all that belongs to it, a share of the kernel's own threads and
tables, and what the allocator loses on the way. The entry in the dict of states stands against the
one in the kernel's routing table; it is about 100 bytes.
"""

from __future__ import annotations

import subprocess
import sys

from scripts.bench.apart import ROOT
from scripts.bench.figure import Figure
from scripts.bench.timing import Say, scaled


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the bytes."""
    count = scaled(100_000, scale)
    say("live aggregates")
    live = _resident("live", count)
    say("events and states only")
    plain = _resident("plain", count)
    each = (live - plain) / count
    shown = f"{each:,.0f} B ({live / count:,.0f} less {plain / count:,.0f} for events and state)"
    details = {"live_bytes": live, "plain_bytes": plain, "aggregates": count}
    return [Figure("memory per idle live aggregate", each, "B", shown, None, 4096, details)]


def _resident(kind: str, count: int) -> int:
    argv = [sys.executable, "-m", "scripts.bench.resident", kind, str(count)]
    printed = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return int(printed.stdout)
