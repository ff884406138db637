"""A dispatch that meets the recursion limit, at any depth, harms only its caller."""

import sys
import threading
from contextlib import suppress

import pytest
import structlog
from stress_helpers import DeferredStore

from eskernel import Command, Kernel
from eskernel_stores import MemoryStore

pytestmark = pytest.mark.stress
LIMIT = 300


class Counter:
    version = "1"

    def init(self):
        return 0

    def handle_command(self, command, state):
        return {"type": "counted"}

    def apply_event(self, payload, state):
        return state + 1


def count(aggregate_id):
    return Command("counter", aggregate_id, "count", {})


def in_thread(function):
    """Return what a function returns or raises in a thread of its own."""
    found = []

    def run():
        try:
            found.append(function())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return found[0]


@pytest.fixture
def shallow():
    """A recursion limit that is soon met."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(LIMIT)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("store", [MemoryStore, DeferredStore])
@pytest.mark.parametrize("depth", range(LIMIT - 40, LIMIT - 4))
def test_a_dispatch_at_the_recursion_limit_harms_only_its_caller(shallow, store, depth):
    with (
        structlog.testing.capture_logs(),
        Kernel({"counter": Counter()}, store(), dispatch_timeout=10) as kernel,
    ):
        kernel.dispatch(count("a"))

        def descend(left):
            return descend(left - 1) if left else kernel.dispatch(count("a"))

        def fail_and_go_on():
            with suppress(RecursionError):  # met in dispatch or, so deep, before it
                descend(depth)
            return kernel.dispatch(count("b")).sequence

        assert in_thread(fail_and_go_on) == 1
        assert in_thread(lambda: kernel.dispatch(count("a")).sequence) in (2, 3)
        assert in_thread(lambda: kernel.dispatch(count("c")).sequence) == 1
