"""A process that fills its memory, for `measures.idle_memory`.

`python -m scripts.bench.resident live|plain COUNT` prints by how many bytes its resident memory
grew: with COUNT live aggregates, or with just their events in a store and their states in a dict.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from domains.bank_account import apply_event, init
from eskernel import Event
from eskernel_stores import MemoryStore
from scripts.bench.accounts import TYPE, account, dispatch_steps, running

_AMOUNT = 30_000  # larger than the integers CPython keeps ready


def resident() -> int:
    """Return the bytes of memory this process has resident."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    argv = ["/bin/ps", "-o", "rss=", "-p", str(os.getpid())]
    return int(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout) * 1024


def growth_with_live(count: int) -> int:
    """Return the growth by `count` live aggregates, one event each."""
    before = resident()
    with running(accounts=0) as kernel:
        for number in range(count):
            dispatch_steps(kernel, [(account(number), "deposit", _AMOUNT)])
        gc.collect()
        assert len(kernel.live_aggregates()) == count
        return resident() - before


def growth_with_plain(count: int) -> int:
    """Return the growth by the same events in a store and the same states in a dict."""
    before = resident()
    store = MemoryStore()
    states: dict[tuple[str, str], Any] = {}
    for number in range(count):
        stream_id = (TYPE, account(number))
        payload = {"type": "deposited", "amount": _AMOUNT}
        now = int(time.time() * 1000)
        event = Event(stream_id, 1, "deposited", payload, timestamp=now)
        store.append(stream_id, (event,), expected_sequence=0)
        states[stream_id] = apply_event(payload, init())
    gc.collect()
    assert store.last_position() == len(states) == count
    return resident() - before


if __name__ == "__main__":
    growth = {"live": growth_with_live, "plain": growth_with_plain}[sys.argv[1]]
    print(growth(int(sys.argv[2])))
