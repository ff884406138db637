"""What the tests of stores share: events, reading them back, and programs that race."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

from eskernel.contracts import EventStore
from eskernel.errors import StoreUnavailable
from eskernel.values import Event, Range, Snapshot

STREAM = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")
_ROOT = Path(__file__).parents[1]


def open_patiently(url: str) -> Any:
    """Open a store that processes share, which waits half a minute for its turn.

    Args:
        url: of one of `backends.SHARED`.
    """
    if url.startswith("nats:"):
        from eskernel_stores.jetstream import JetStreamStore  # noqa: PLC0415 - only who needs it

        return JetStreamStore(url, timeout=30)
    if url.startswith("mongodb:"):
        from eskernel_stores.mongo import MongoStore  # noqa: PLC0415

        return MongoStore(url, timeout=30)
    from eskernel_stores.sql import SqlStore  # noqa: PLC0415

    return SqlStore(url, timeout=30)


def made(stream_id: Any, expected: int, *payloads: Any) -> list[Event]:
    """Return events that follow upon a sequence."""
    return [Event(stream_id, n, "happened", p) for n, p in enumerate(payloads, expected + 1)]


def append(store: EventStore, stream_id: Any, *payloads: Any) -> int:
    """Append events wherever the stream is, and return the last position."""
    before = store.fold(stream_id, lambda number, _: number + 1, 0)
    return store.append(stream_id, made(stream_id, before, *payloads), expected_sequence=before)


def listed(events: list[Event], event: Event) -> list[Event]:
    events.append(event)
    return events


def payloads(store: EventStore, stream_id: Any = STREAM) -> list[Any]:
    return [event.payload for event in store.fold(stream_id, listed, [])]


def log(store: EventStore, start: int = 1) -> list[Event]:
    return store.fold_all(listed, [], Range(start))[0]


def logged(store: EventStore) -> list[Any]:
    """Return the payloads of the whole log."""
    return [event.payload for event in log(store)]


def unavailable(function: Callable[..., Any], *arguments: Any, **options: Any) -> StoreUnavailable:
    """Return the StoreUnavailable that a call raises, and nothing else."""
    try:
        value = function(*arguments, **options)
    except StoreUnavailable as error:
        return error
    raise AssertionError(f"no StoreUnavailable, but {value!r}")


def every_call_unavailable(store: Any, expected: int) -> list[StoreUnavailable]:
    """Return what each kind of call raises, of which all must raise StoreUnavailable.

    Args:
        store: of events and snapshots.
        expected: the sequence that `STREAM` is at.
    """
    calls: tuple[Callable[[], Any], ...] = (
        lambda: store.append(STREAM, made(STREAM, expected, "x"), expected_sequence=expected),
        lambda: payloads(store),
        lambda: logged(store),
        store.last_position,
        lambda: store.load_latest(STREAM),
        lambda: store.store(Snapshot(STREAM, 1, "state")),
    )
    return [unavailable(call) for call in calls]


_PREAMBLE = """
import os, sys, traceback
sys.path[:0] = {path!r}
from contextlib import closing
from store_helpers import *
from eskernel.contracts import Commit
from eskernel.errors import *
from eskernel.values import *
from eskernel_stores import open_store

def say(value):
    os.write(1, f"{{value}}\\n".encode())  # at once, so that lines of processes do not mix
"""

_RACE = """
gate, opener = os.pipe()
children = []
for index in range({number}):
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(opener)
            os.read(gate, 1)
            work(index)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    children.append(child)
os.close(opener)  # they begin together
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def start_program(source: str, **options: Any) -> subprocess.Popen[str]:
    """Start a program that knows these helpers and `open_store`, in an interpreter of its own."""
    paths = [str(_ROOT), str(_ROOT / "stores"), str(_ROOT / "tests")]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _PREAMBLE.format(path=paths) + dedent(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **options},
    )


def run_program(source: str, timeout: float = 60) -> list[str]:
    """Run a program to its end, which must be a good one, and return the lines it printed."""
    with start_program(source) as program:
        try:
            out, errors = program.communicate(timeout=timeout)
        finally:
            program.kill()
    assert (program.returncode, errors) == (0, ""), out + errors
    return out.splitlines()


def race_processes(number: int, source: str, timeout: float = 60) -> list[str]:
    """Run `work(index)`, which `source` defines, in so many processes that begin together.

    Returns:
        The lines they said, with `say`.
    """
    return run_program(dedent(source) + _RACE.format(number=number), timeout)
