"""What the tests share."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psutil


def eventually(predicate: Callable[[], Any], timeout: float = 5) -> Any:
    """Return the predicate's first true value.

    Args:
        predicate: asked again and again.
        timeout: seconds after which the test has failed.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"not within {timeout} seconds: {predicate}"
        time.sleep(0.001)
    return value


def run_threads(*targets: Callable[[], Any], timeout: float = 20) -> None:
    """Run each target on a thread of its own, begin together, and fail if one raises or hangs.

    Args:
        targets: what to run.
        timeout: seconds for all of them.
    """
    errors: list[BaseException] = []
    gate = threading.Barrier(len(targets))

    def run(target: Callable[[], Any]) -> None:
        try:
            gate.wait(timeout)
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in targets]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), f"a thread hangs after {timeout} seconds"
    if errors:
        raise errors[0]


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still does anything; one that waits to be buried does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def opening(open_store: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Return a function that opens stores as `open_store` does; all are closed in the end."""
    with ExitStack() as stores:
        yield lambda *arguments, **options: stores.enter_context(
            closing(open_store(*arguments, **options))
        )


def new_seed() -> int:
    """Return ESKERNEL_SEED, or a random seed; printed, so that a failing test tells it."""
    seed = int(os.environ.get("ESKERNEL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"ESKERNEL_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed
