"""Starting, stopping and configuring a kernel; and leaving the interpreter without a goodbye."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import structlog
from kernel_helpers import (
    TYPE,
    Gate,
    ProbedStore,
    Tally,
    add,
    attempt,
    command,
    numbers_of,
    run_script,
)
from support import eventually, run_threads

from eskernel import Accepted, Kernel
from eskernel.actors.aggregate.supervisor import AggregateSupervisor
from eskernel.errors import InvalidDomain, KernelStopped, StoreUnavailable
from eskernel_stores import MemoryStore

# Starting and stopping.


def test_start_returns_the_kernel_and_is_harmless_when_repeated(start):
    kernel = start()
    root = kernel.tree().ref
    assert kernel.start() is kernel
    assert kernel.tree().ref is root


def test_with_starts_and_stops(store, domain):
    with Kernel({TYPE: domain}, store) as kernel:
        assert kernel.dispatch(add()).sequence == 1
    assert attempt(kernel.dispatch, add()).reason.startswith("it was stopped")


def test_an_exception_inside_with_stops_the_kernel_and_is_not_swallowed(store, domain):
    with pytest.raises(LookupError), Kernel({TYPE: domain}, store) as kernel:
        raise LookupError
    assert isinstance(attempt(kernel.dispatch, add()), KernelStopped)


def test_everything_is_back_after_a_restart_on_the_same_store(start):
    kernel = start()
    for round_ in range(1, 6):
        kernel.start()
        assert kernel.dispatch(add()).sequence == round_
        assert kernel.stop()
    kernel.start()
    assert kernel.state_of(TYPE, "a") == ({"total": 5, "count": 5}, 5)


def test_a_second_kernel_on_the_store_of_a_stopped_one_goes_on(start):
    first = start()
    first.dispatch(add(n=3))
    first.stop()
    assert start().state_of(TYPE, "a") == ({"total": 3, "count": 1}, 1)


def test_no_thread_outlives_its_kernel(domain, store):
    before = set(threading.enumerate())
    with Kernel({TYPE: domain}, store, middleware=[lambda cmd, call_next: call_next(cmd)]) as one:
        one.dispatch(add())
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    eventually(lambda: set(threading.enumerate()) <= before)


def test_stopping_twice_is_harmless(start):
    kernel = start()
    assert kernel.stop()
    assert kernel.stop()


def test_stop_may_be_called_by_many_threads_at_once(start):
    kernel = start()
    kernel.dispatch(add())
    stopped = []
    run_threads(*[lambda: stopped.append(kernel.stop())] * 8)
    assert stopped == [True] * 8


def test_start_and_stop_from_many_threads_leave_a_kernel_that_works(start, store):
    kernel = start()

    def restart():
        for _ in range(5):
            kernel.stop()
            kernel.start()

    run_threads(*[restart] * 4)
    kernel.start()
    assert kernel.dispatch(add()).sequence == 1


# With commands in flight.


def test_a_running_command_ends_and_the_waiting_ones_are_refused(start, store, domain):
    kernel = start()
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        futures = [kernel.submit(add(n=0))]
        gate.wait()
        futures += [kernel.submit(add(n=n)) for n in range(1, 4)]
        futures += [kernel.submit(add(other)) for other in ("b", "c")]
        eventually(lambda: len(domain.handled) == 3)
        stopping = threading.Thread(target=kernel.stop)
        stopping.start()
        eventually(lambda: kernel.live_aggregates() == [])
    stopping.join(10)
    outcomes = [attempt(future.result, 5) for future in futures]
    assert [type(outcome) for outcome in outcomes[1:4]] == [KernelStopped] * 3
    for outcome in (outcomes[0], *outcomes[4:]):
        assert isinstance(outcome, Accepted | KernelStopped)
    assert numbers_of(store) == [0] * isinstance(outcomes[0], Accepted)


def test_what_the_store_is_writing_while_the_kernel_stops_is_answered_truly(domain):
    store = ProbedStore(immediate=False)
    kernel = Kernel({TYPE: domain}, store).start()
    with Gate() as gate:
        store.hook_append = gate
        futures = [kernel.submit(add(n=n)) for n in range(5)]
        gate.wait()
        stopping = threading.Thread(target=kernel.stop)
        stopping.start()
        eventually(lambda: isinstance(attempt(kernel.dispatch, add()), KernelStopped))
    stopping.join(10)
    outcomes = [attempt(future.result, 5) for future in futures]
    accepted = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Accepted)]
    assert numbers_of(store) == accepted
    assert all(isinstance(outcome, Accepted | KernelStopped) for outcome in outcomes)


def test_stop_gives_up_on_a_command_that_does_not_end(start, domain):
    kernel = start()
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        future = kernel.submit(add())
        gate.wait()
        began = time.monotonic()
        assert kernel.stop(timeout=0.2) is False
        assert time.monotonic() - began < 3
        assert isinstance(attempt(kernel.dispatch, add()), KernelStopped)
    assert isinstance(attempt(future.result, 10), Accepted | KernelStopped)


def test_no_thread_is_left_once_the_command_ends_that_stop_gave_up_on(domain, store):
    before = set(threading.enumerate())
    kernel = Kernel({TYPE: domain}, store).start()
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        kernel.submit(add())
        gate.wait()
        assert kernel.stop(timeout=0.1) is False
    eventually(lambda: set(threading.enumerate()) <= before, timeout=6)


@pytest.mark.parametrize("stuck_in", ["the domain", "the store"])
def test_what_waits_behind_a_command_that_does_not_end_does_not_hang(
    stuck_in, start, domain, store
):
    kernel = start()
    kernel.dispatch(add())
    with Gate() as gate:
        if stuck_in == "the domain":
            domain.hooks["handle_command"] = gate
        else:
            store.hook_append = gate
        stuck = kernel.submit(add())
        gate.wait()
        waiting = [kernel.submit(add()) for _ in range(3)]
        kernel.stop(timeout=0.3)
        for future in waiting:
            assert isinstance(attempt(future.result, 2), KernelStopped | StoreUnavailable)
    outcome = attempt(stuck.result, 10)
    if isinstance(outcome, StoreUnavailable):  # the store had it already, and may have stored it
        assert outcome.outcome_unknown
    else:
        assert isinstance(outcome, Accepted | KernelStopped)


def test_callers_waiting_for_a_busy_aggregate_are_let_go_by_stop(start, domain):
    kernel = start()
    outcomes = []
    with Gate() as gate:
        domain.hooks["handle_command"] = gate
        busy = kernel.submit(add())
        gate.wait()
        waiting = [
            threading.Thread(
                target=lambda call=call: outcomes.append(attempt(call, timeout=20)), daemon=True
            )
            for call in (
                lambda timeout: kernel.dispatch(add(), timeout=timeout),
                lambda timeout: kernel.state_of(TYPE, "a", timeout=timeout),
            )
        ]
        for thread in waiting:
            thread.start()
        eventually(lambda: kernel.tree().find(f"{TYPE}/a").queued == 2)
        stopping = threading.Thread(target=kernel.stop)
        stopping.start()
        eventually(lambda: kernel.live_aggregates() == [])
    for thread in (stopping, *waiting):
        thread.join(10)
        assert not thread.is_alive()
    assert [type(outcome) for outcome in outcomes] == [KernelStopped] * 2
    assert isinstance(attempt(busy.result, 5), Accepted | KernelStopped)


# Leaving the interpreter.

LEAVING = """
import threading, time
from kernel_helpers import ProbedStore, Tally, TYPE, add
from eskernel import Kernel

store = ProbedStore(immediate=IMMEDIATE)
domain = Tally()
kernel = Kernel({TYPE: domain}, store, passivation_timeout=0.01).start()
kernel.dispatch(add())
"""

USING = """
begun = threading.Barrier(3)

def use(name):
    kernel.dispatch(add(name))
    begun.wait(10)
    ends = time.monotonic() + 0.4
    while time.monotonic() < ends:
        assert kernel.submit(add(name)).result(5).sequence
        assert kernel.dispatch(add(name)).sequence
    sys.stdout.write("used\\n")

for name in "xy":
    threading.Thread(target=use, args=(name,)).start()
begun.wait(10)
"""

PENDING = """
domain.hooks["handle_command"] = lambda command, _state: time.sleep(60)
futures = [kernel.submit(add(f"p{n}")) for n in range(100)]
"""


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize(
    ("doing", "printed"),
    [("", "left\n"), (USING, "left\nused\nused\n"), (PENDING, "left\n")],
    ids=["idle", "user threads", "pending futures"],
)
def test_the_interpreter_exits_though_a_kernel_was_never_stopped(doing, printed, immediate):
    source = f"IMMEDIATE = {immediate}\n{LEAVING}\n{doing}\nprint('left', flush=True)"
    assert run_script(source) == printed


# Configuration.


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("snapshot_interval", [-1, 1.5, True, None, "1"]),
        ("snapshots_kept", [0, -1, 2.0, False, None]),
        ("inbox_limit", [0, -5, 1.0, True, None]),
        ("receipts_kept", [-1, 0.5, True, None]),
        ("max_live_aggregates", [0, -1, 10.0, True]),
        ("passivation_timeout", [-0.001, float("nan"), True, None, "5"]),
        ("dispatch_timeout", [-1, float("nan"), False, None, "5"]),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option, values):
    for value in values:
        with pytest.raises(ValueError, match=option):
            Kernel({TYPE: Tally()}, MemoryStore(), **{option: value})


@pytest.mark.parametrize("missing", ["init", "handle_command", "apply_event"])
def test_a_domain_without_one_of_its_functions_is_refused(missing):
    functions = {name: getattr(Tally(), name) for name in ("init", "handle_command", "apply_event")}
    for broken in ({**functions, missing: None}, {**functions, missing: lambda _a, _b, _c: None}):
        with pytest.raises(InvalidDomain, match=missing):
            Kernel({TYPE: SimpleNamespace(**broken)}, MemoryStore())
    del functions[missing]
    with pytest.raises(InvalidDomain, match=missing):
        Kernel({TYPE: SimpleNamespace(**functions)}, MemoryStore())


@pytest.mark.parametrize("event_type", [3, lambda: None])
def test_an_event_type_that_is_no_function_of_a_payload_is_refused(event_type):
    domain = Tally()
    domain.event_type = event_type
    with pytest.raises(InvalidDomain, match="event_type"):
        Kernel({TYPE: domain}, MemoryStore())


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "\ud800", 3, None])
def test_a_domain_under_an_impossible_name_is_refused(name):
    with pytest.raises(InvalidDomain):
        Kernel({name: Tally()}, MemoryStore())


def test_the_kernel_does_not_configure_the_hosts_logging(tmp_path):
    printed = run_script("""
import logging, structlog, warnings
import eskernel, eskernel_stores, eskernel.testing
assert not structlog.is_configured()
from kernel_helpers import ProbedStore, Tally, TYPE, add, attempt, command
with eskernel.Kernel({TYPE: Tally()}, ProbedStore(), snapshot_interval=1) as kernel:
    kernel.dispatch(add())
    attempt(kernel.dispatch, command("raise"))
assert not structlog.is_configured()
assert logging.getLogger().handlers == [], logging.getLogger().handlers
print("unconfigured")
""")
    assert printed.splitlines()[-1] == "unconfigured"


def test_a_logger_that_fails_does_not_fail_the_kernel(start, store):
    def broken(*_):
        raise RuntimeError("the log is full")

    kernel = start(passivation_timeout=0.01, snapshot_interval=1)
    store.store = broken  # a snapshot that fails is logged
    structlog.configure(processors=[broken])
    try:
        assert kernel.dispatch(add(n=1)).sequence == 1
        attempt(kernel.dispatch, command("raise"))
        assert kernel.dispatch(add(n=2)).sequence == 2
        eventually(lambda: kernel.live_aggregates() == [])
        assert kernel.dispatch(add(n=3)).sequence == 3
        assert kernel.stop()
    finally:
        structlog.reset_defaults()


def test_stop_may_be_called_by_a_signal_handler_that_interrupts_stop():
    run_script("""
        import signal, threading, time
        from eskernel import Command, Kernel
        from eskernel_stores import MemoryStore
        from domains import bank_account

        inside = threading.Event()

        class Slow:
            version = 1
            init = staticmethod(bank_account.init)
            apply_event = staticmethod(bank_account.apply_event)

            @staticmethod
            def handle_command(command, state):
                inside.set()
                time.sleep(0.5)
                return bank_account.handle_command(command, state)

        kernel = Kernel({"slow": Slow}, MemoryStore()).start()
        signal.signal(signal.SIGALRM, lambda *_: kernel.stop())
        kernel.submit(Command("slow", "a", "deposit", {"amount": 1}))
        inside.wait()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert kernel.stop()
    """)


def test_a_kernel_whose_tree_does_not_come_up_leaves_no_thread_behind(monkeypatch, domain, store):
    before = set(threading.enumerate())

    def fail(self):
        raise ZeroDivisionError("it does not come up")

    monkeypatch.setattr(AggregateSupervisor, "on_start", fail)
    monkeypatch.setattr("eskernel.actors.aggregate.services._START_PATIENCE", 0.1)
    kernel = Kernel({TYPE: domain}, store)
    with pytest.raises(KernelStopped):
        kernel.start()
    eventually(lambda: set(threading.enumerate()) <= before, timeout=10)
    with pytest.raises(KernelStopped):
        kernel.dispatch(add())
