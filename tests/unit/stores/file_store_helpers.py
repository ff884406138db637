"""What the tests of FileStore share."""

from __future__ import annotations

import os
import subprocess
import sys

from eskernel.contracts import Commit
from eskernel.values import Event

STREAM = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")


def made(stream_id, expected, *payloads):
    return [Event(stream_id, n, "happened", p) for n, p in enumerate(payloads, expected + 1)]


def add(store, stream_id, expected, *payloads, append_id=None):
    events = made(stream_id, expected, *payloads)
    return store.append(stream_id, events, expected_sequence=expected, append_id=append_id)


def commit(stream_id, expected, *payloads, append_id=None):
    return Commit(stream_id, made(stream_id, expected, *payloads), expected, append_id)


def listed(events, event):
    return [*events, event]


def log(store):
    return [
        (event.stream_id, event.sequence, event.payload) for event in store.fold_all(listed, [])[0]
    ]


def payloads(store, stream_id=STREAM):
    return [event.payload for event in store.fold(stream_id, listed, [])]


def segments(root):
    return sorted(root.glob("log-*.jsonl"))


def contents(root):
    """Return name and content of every file below a folder, but for the lock's."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def python(program, *arguments, **options):
    """Start a Python process that can import what this one can."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )
