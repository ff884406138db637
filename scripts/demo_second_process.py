"""The demo's second process, which knows of the account only what is on disk.

`second_process` starts it. It is this file, run with a store's URL and a stream's two names; it
prints what it found as one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

from domains import bank_account
from eskernel import Kernel
from eskernel_stores import open_store

PATIENCE = 30.0
"""Seconds it may take, most of which Python needs to start."""


class Found(NamedTuple):
    """What the second process found.

    Attributes:
        pid: its process id.
        replayed: how many events it applied to get at the state.
        state: of the account.
        sequence: the state is at.
    """

    pid: int
    replayed: int
    state: Any
    sequence: int


class SecondProcessFailed(Exception):
    """It did not end well; the message says how."""


def second_process(url: str, stream_id: tuple[str, str]) -> Found:
    """Start the second process, wait for its end and return what it found."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, url, *stream_id],
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SecondProcessFailed(f"still running after {PATIENCE:g} seconds") from None
    if done.returncode != 0:
        last = (done.stderr.splitlines() or ["nothing said"])[-1]
        raise SecondProcessFailed(f"exit status {done.returncode}: {last}")
    return Found(*json.loads(done.stdout))


def rehydrate(url: str, stream_id: tuple[str, str]) -> Found:
    """Have a kernel bring an account back from its store, counting the events it applies."""
    replayed = []

    def apply_event(payload: Any, state: Any) -> Any:
        replayed.append(payload)
        return bank_account.apply_event(payload, state)

    counting = SimpleNamespace(**{**vars(bank_account), "apply_event": apply_event})
    store = open_store(url)
    try:
        with Kernel({"bank_account": counting}, store) as kernel:
            state, sequence = kernel.state_of(*stream_id)
    finally:
        store.close()
    return Found(os.getpid(), len(replayed), state, sequence)


if __name__ == "__main__":
    _, its_url, its_type, its_id = sys.argv
    print(json.dumps(rehydrate(its_url, (its_type, its_id))))
