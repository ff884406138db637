"""Projections of a kernel: from a command to a state that anybody may read."""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import dataclass

import pytest
from kernel_helpers import TYPE, Gate, ProbedStore, Tally, add, attempt, command, run_script
from stress.interrupter import Interrupted, Interrupter, on_cpython_3_11
from stress.stress_helpers import raise_in
from support import eventually, new_seed, run_threads

from eskernel import Accepted, Command, Kernel, Projection
from eskernel.errors import (
    CommandRejected,
    DispatchTimeout,
    InvalidProjection,
    KernelStopped,
    NotProjected,
    NotStorable,
    ProjectionBusy,
    ReentrantDispatch,
    StoreUnavailable,
    UnknownProjection,
)
from eskernel.projections import Status
from eskernel_stores import MemoryStore
from eskernel_stores.sql import SqlStore

DEADLINE = 10


class Sums:
    """The sum of each aggregate; `hook(event)` runs first, and may raise.

    Args:
        factor: what numbers are multiplied by.
        attributes: what it has beside.
    """

    version = "1"

    def __init__(self, factor=1, **attributes):
        self.factor = factor
        self.hook = lambda event: None
        self.handled = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def init(self):
        return {}

    def handle_event(self, event, state):
        self.handled.append(event.position)
        self.hook(event)
        name = event.stream_id[1]
        state[name] = state.get(name, 0) + self.factor * event.payload["n"]
        return state


def fails_at(*positions):
    def fail(event):
        if event.position in positions:
            raise ZeroDivisionError(f"at {event.position}")

    return fail


@pytest.fixture
def sums():
    return Sums()


@pytest.fixture
def kernel(start, sums):
    return start(projections={"sums": sums})


def seen(kernel, name="sums"):
    """Return a projection that has seen everything."""
    projection = kernel.projection(name)
    projection.wait_for(kernel._store.last_position(), DEADLINE)
    return projection


# Reading.


def test_a_projection_sees_every_command_of_every_aggregate(kernel):
    for n in range(10):
        kernel.dispatch(add("a", n))
        kernel.dispatch(add("b", 1))
    assert seen(kernel).state == {"a": 45, "b": 10}
    kernel.dispatch(command("add_all", [1, 2, 3], "c"), wait_for=("sums",))
    assert kernel.projection("sums").read(lambda state: state["c"]) == 6


def test_a_state_that_is_read_shares_nothing_with_the_projection(start):
    class Lists(Sums):
        def handle_event(self, event, state):
            state.setdefault("seen", []).append(event.payload["n"])
            return state

    kernel = start(projections={"sums": Lists()})
    kernel.dispatch(add(n=7), wait_for=("sums",))
    projection = kernel.projection("sums")
    projection.state["seen"].append("mine")
    projection.read(lambda state: state["seen"]).append("mine")
    assert projection.state == {"seen": [7]}
    assert projection.state is not projection.state


def test_only_what_a_read_wants_is_copied(kernel):
    kernel.dispatch(add(n=7), wait_for=("sums",))
    projection = kernel.projection("sums")
    assert projection.read(len) == 1
    with pytest.raises(ZeroDivisionError):
        projection.read(lambda state: 1 / 0)
    with pytest.raises(NotStorable):
        projection.read(lambda state: state.items())
    assert projection.state == {"a": 7}


def test_a_projection_may_be_given_with_how_it_is_run(start, store):
    kernel = start(projections={"sums": Projection(Sums(), checkpoint_events=1)})
    kernel.dispatch(add(), wait_for=("sums",))
    eventually(lambda: store.load_checkpoint("projection/sums").position == 1)


def test_it_tells_how_far_it_is_and_what_it_does(kernel, store):
    projection = kernel.projection("sums")
    kernel.dispatch(add(), wait_for=("sums",))
    eventually(lambda: projection.status is Status.LIVE)
    assert (projection.name, projection.position, projection.lag) == ("sums", 1, 0)
    assert (projection.error, projection.version, projection.parked) == (None, "1", ())
    assert projection.rebuilding is None


def test_it_shows_itself_in_a_line(kernel):
    kernel.dispatch(add(), wait_for=("sums",))
    shown = "<projection 'sums': live, at 1>"
    eventually(lambda: repr(kernel.projection("sums")) == shown)


def test_a_position_must_be_a_number(kernel):
    with pytest.raises(TypeError, match="a position is a whole number"):
        kernel.projection("sums").wait_for("newest")


def test_who_waits_after_a_resume_is_not_told_what_was_before(start):
    class Slow(MemoryStore):
        """One whose checkpoints take a while to be had."""

        def load_checkpoint(self, *arguments):
            time.sleep(0.05)
            return super().load_checkpoint(*arguments)

    mended = []

    def fail(_event):
        if not mended:
            raise ValueError("not yet")

    sums = Sums()
    sums.hook = fail
    kernel = start(projections={"sums": Projection(sums, retries=0)}, checkpoint_store=Slow())
    kernel.dispatch(add())
    projection = kernel.projection("sums")
    eventually(lambda: projection.status is Status.STOPPED)
    mended.append(True)
    projection.resume()
    projection.wait_for()
    assert projection.position == 1


def test_without_a_position_all_that_is_there_is_waited_for(kernel, store):
    for _ in range(100):
        kernel.dispatch(add())
    projection = kernel.projection("sums")
    projection.wait_for()
    assert projection.position == store.last_position()


def test_its_lag_is_what_the_log_is_ahead(start, store):
    sums, gate = Sums(), Gate()
    sums.hook = lambda event: event.position == 3 and gate()
    kernel = start(projections={"sums": sums})
    with gate:
        for _ in range(5):
            kernel.dispatch(add())
        gate.wait()
        assert 3 <= kernel.projection("sums").lag <= 5
    assert seen(kernel).lag == 0


def test_projections_are_children_in_the_tree(start):
    kernel = start(projections={"sums": Sums(), "more": Sums()})
    node = kernel.tree().find("projection-supervisor")
    assert [child.name for child in node.children] == ["projection/sums", "projection/more"]
    assert all(child.alive for child in node.children)
    assert "projection/sums (ProjectionActor)" in str(kernel.tree())


def test_an_unknown_projection_is_answered_with_the_known(kernel):
    for name in ("other", None, 3, []):
        with pytest.raises(UnknownProjection, match="registered: sums"):
            kernel.projection(name)
    with pytest.raises(UnknownProjection):
        kernel.audit("other")


@dataclass(frozen=True)
class Money:
    cents: int


class Till:
    """A domain whose payloads are dataclasses."""

    types = (Money,)

    def init(self):
        return 0

    def handle_command(self, command, state):
        return Money(command.payload)

    def event_type(self, payload):
        return "paid"

    def apply_event(self, payload, state):
        return state + payload.cents


class Takings:
    types = (Money,)

    def init(self):
        return Money(0)

    def handle_event(self, event, state):
        return Money(state.cents + event.payload.cents)


def test_payloads_and_states_may_be_dataclasses(start):
    kernel = start(domains={"till": Till()}, projections={"takings": Takings()})
    for n in (1, 2, 3):
        kernel.dispatch(Command("till", "a", "pay", n), wait_for=("takings",))
    assert kernel.projection("takings").state == Money(6)


# Waiting.


def test_who_waits_for_a_projection_reads_what_it_wrote(kernel):
    new_seed()

    def write(name):
        for n in range(1, 51):
            accepted = kernel.dispatch(add(name), wait_for=("sums",))
            projection = kernel.projection("sums")
            assert projection.position >= accepted.position
            assert projection.read(lambda state: state[name]) >= n

    run_threads(*(lambda name=name: write(name) for name in "abcd"), timeout=60)
    assert seen(kernel).state == dict.fromkeys("abcd", 50)


def test_a_projection_that_is_late_is_told_of_while_the_events_are_stored(start, store):
    sums, gate = Sums(), Gate()
    sums.hook = gate
    kernel = start(projections={"sums": sums})
    with gate, pytest.raises(NotProjected, match=r"did not see position 1 within 0\.0") as caught:
        kernel.dispatch(add(), timeout=0.05, wait_for=("sums",))
    error = caught.value
    assert (error.projection, error.position, error.reached) == ("sums", 1, 0)
    assert isinstance(error.accepted, Accepted)
    assert error.accepted.position == store.last_position() == 1
    assert seen(kernel).state == {"a": 1}


def test_a_projection_that_has_stopped_is_not_waited_for(start):
    sums = Sums()
    sums.hook = fails_at(1)
    kernel = start(projections={"sums": Projection(sums, retries=0)})
    kernel.dispatch(add())
    projection = kernel.projection("sums")
    eventually(lambda: projection.status is Status.STOPPED)
    begun = time.monotonic()
    with pytest.raises(NotProjected, match="has stopped before position 2: ZeroDivision") as caught:
        kernel.dispatch(add(), timeout=60, wait_for=("sums",))
    assert time.monotonic() - begun < 30
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.accepted.position == 2


def test_of_several_projections_each_is_waited_for(start):
    slow, gate = Sums(), Gate()
    slow.hook = gate
    kernel = start(projections={"quick": Sums(), "slow": slow})
    with gate, pytest.raises(NotProjected) as caught:
        kernel.dispatch(add(), timeout=0.05, wait_for=["quick", "slow"])
    assert caught.value.projection == "slow"
    kernel.dispatch(add(), wait_for={"quick", "slow"})
    assert kernel.projection("slow").state == kernel.projection("quick").state == {"a": 2}


def test_with_an_unknown_projection_nothing_is_dispatched(kernel, store):
    with pytest.raises(UnknownProjection):
        kernel.dispatch(add(), wait_for=("sums", "other"))
    with pytest.raises(TypeError, match=r"wait_for must be a tuple of names; write \('sums',\)"):
        kernel.dispatch(add(), wait_for="sums")
    with pytest.raises((TypeError, ValueError)):
        kernel.dispatch(add(), timeout=-1, wait_for=("sums",))
    assert store.last_position() == 0


def test_a_command_that_stores_nothing_is_not_waited_for(start):
    sums, gate = Sums(), Gate()
    sums.hook = gate
    kernel = start(projections={"sums": sums})
    with gate:
        kernel.dispatch(add())
        gate.wait()
        assert kernel.dispatch(command("return", []), wait_for=("sums",)).position is None
        with pytest.raises(CommandRejected):
            kernel.dispatch(command("refuse"), wait_for=("sums",))


def test_a_command_that_was_stored_before_is_waited_for_all_the_same(kernel, sums):
    first = kernel.dispatch(add(command_id="c1"))
    again = kernel.dispatch(add(command_id="c1"), wait_for=("sums",))
    assert again.position == first.position
    assert kernel.projection("sums").state == {"a": 1}


def test_middleware_is_waited_for_as_well(start):
    passed = []

    def double(command, call_next):
        passed.append(command)
        return call_next(command._replace(payload=command.payload * 2))

    kernel = start(projections={"sums": Sums()}, middleware=[double])
    accepted = kernel.dispatch(add(n=4), wait_for=("sums",))
    assert kernel.projection("sums").state == {"a": 8}
    assert (accepted.position, len(passed)) == (1, 1)


def test_any_position_can_be_waited_for(kernel):
    projection = kernel.projection("sums")
    projection.wait_for(0, 0)
    with pytest.raises(NotProjected) as caught:
        projection.wait_for(5, 0.01)
    assert caught.value.accepted is None
    for bad in (-1, float("nan"), "1", True):
        with pytest.raises((TypeError, ValueError)):
            projection.wait_for(5, bad)


# Failures.


def test_a_poisonous_event_stops_one_projection_and_nothing_else(start):
    sums = Sums()
    sums.hook = fails_at(3)
    kernel = start(
        projections={"sums": Projection(sums, retries=1, first_retry=0.01), "other": Sums()}
    )
    for _ in range(5):
        kernel.dispatch(add(), wait_for=("other",))
    projection = kernel.projection("sums")
    eventually(lambda: projection.status is Status.STOPPED)
    assert (projection.position, projection.state) == (2, {"a": 2})
    assert isinstance(projection.error, ZeroDivisionError)
    assert projection.lag == 3
    assert kernel.projection("other").state == {"a": 5}
    assert kernel.projection("other").status is Status.LIVE
    assert kernel.audit("sums").complete
    sums.hook = fails_at()
    projection.resume()
    assert seen(kernel).state == {"a": 5}
    assert projection.error is None


def test_poisonous_events_can_be_parked_retried_and_discarded(start):
    sums = Sums()
    sums.hook = fails_at(2, 4)
    kernel = start(projections={"sums": Projection(sums, retries=0, on_failure="park")})
    for n in (1, 10, 100, 1000, 10000):
        kernel.dispatch(add(n=n), wait_for=("sums",))
    projection = kernel.projection("sums")
    assert projection.state == {"a": 10101}
    assert [(one.position, one.stream_id) for one in projection.parked] == [
        (2, (TYPE, "a")),
        (4, (TYPE, "a")),
    ]
    with pytest.raises(ZeroDivisionError, match="at 2"):
        projection.retry(2)
    sums.hook = fails_at()
    projection.retry(2)
    projection.discard(4)
    eventually(lambda: not projection.parked)
    assert projection.state == {"a": 10111}
    for method in (projection.retry, projection.discard):
        with pytest.raises(LookupError, match="no event parked at position 2"):
            method(2)
    audit = kernel.audit("sums")
    assert (audit.complete, audit.parked, audit.discarded) == (True, (), (4,))


def test_a_handler_that_asks_for_its_own_state_is_refused(start):
    sums, asked = Sums(), []
    kernel = start(projections={"sums": sums})
    projection = kernel.projection("sums")
    sums.hook = lambda event: asked.append(attempt(lambda: projection.state))
    kernel.dispatch(add(), wait_for=("sums",))
    assert isinstance(asked[0], ReentrantDispatch)
    assert projection.read(lambda state: repr(attempt(projection.rebuild))).startswith(
        "ReentrantDispatch"
    )


def test_an_answer_that_takes_too_long_is_not_waited_for(start):
    sums, gate = Sums(), Gate()
    sums.hook = gate
    kernel = start(projections={"sums": sums})
    with gate:
        kernel.dispatch(add())
        gate.wait()
        with pytest.raises(DispatchTimeout, match="projection 'sums' did not answer"):
            kernel.projection("sums").read(len, timeout=0.05)
    assert seen(kernel).state == {"a": 1}


class Killed(BaseException):
    pass


def test_a_projection_whose_actor_is_killed_goes_on_by_itself(start):
    sums = Sums()
    kernel = start(projections={"sums": Projection(sums, lease_seconds=0.2)})
    for _ in range(5):
        kernel.dispatch(add(), wait_for=("sums",))
    died = []

    def die(event):
        if not died:
            died.append(event)
            raise Killed

    sums.hook = die
    kernel.dispatch(add(), wait_for=("sums",))
    assert kernel.projection("sums").state == {"a": 6}
    node = kernel.tree().find("projection/sums")
    assert (node.alive, node.restarts) == (True, 1)
    assert kernel.audit("sums").complete


def test_a_read_waits_for_an_actor_that_is_being_restarted(start):
    kernel = start(projections={"sums": Sums()})
    kernel.dispatch(add(n=4), wait_for=("sums",))
    projection = kernel.projection("sums")

    def kill(state):
        raise Killed

    with pytest.raises(DispatchTimeout):
        projection.read(kill, timeout=0.5)
    assert projection.state == {"a": 4}


def test_a_store_that_is_down_is_waited_for(start, store):
    kernel = start(projections={"sums": Projection(Sums(), first_retry=0.01)})
    projection = kernel.projection("sums")
    kernel.dispatch(add(), wait_for=("sums",))
    fold_all = store.fold_all

    def down(*arguments, **options):
        raise StoreUnavailable("made to fail")

    store.fold_all = down
    eventually(lambda: projection.status is Status.RETRYING)
    assert isinstance(projection.error, StoreUnavailable)
    store.fold_all = fold_all
    kernel.dispatch(add(), wait_for=("sums",))
    eventually(lambda: projection.status is Status.LIVE)
    assert projection.error is None


# Rebuilding.


def test_a_rebuild_beside_commands_ends_with_the_right_state(start):
    sums = Sums()
    kernel = start(projections={"sums": sums})
    for _ in range(300):
        kernel.dispatch(add())
    projection = seen(kernel)
    sums.hook = lambda event: time.sleep(0.0001)
    projection.rebuild()
    shares = []
    while (rebuild := projection.rebuilding) is not None:
        shares.append(rebuild.share)
        kernel.dispatch(add(), wait_for=("sums",))
        assert projection.state["a"] >= 300
    assert shares == sorted(shares)
    assert all(share <= 1.0 for share in shares)
    assert seen(kernel).state == {"a": kernel._store.last_position()}
    assert sums.handled.count(1) == 2
    assert kernel.audit("sums").complete


def test_a_rebuild_can_be_taken_back(start):
    sums, gate = Sums(), Gate()
    kernel = start(projections={"sums": sums})
    for _ in range(100):
        kernel.dispatch(add())
    projection = seen(kernel)
    for method in (projection.cancel_rebuild, projection.rollback):
        with pytest.raises(ProjectionBusy):
            method()
    sums.hook = lambda event: event.position == 50 and gate()
    projection.rebuild()
    gate.wait()
    assert projection.rebuilding is not None
    gate.open()
    eventually(lambda: projection.rebuilding is None)
    kernel.dispatch(add(), wait_for=("sums",))
    projection.rollback()
    assert seen(kernel).state == {"a": 101}
    assert kernel.audit("sums").complete


def test_while_it_is_rebuilt_another_rebuild_is_refused_and_it_can_be_cancelled(start):
    sums = Sums()
    kernel = start(projections={"sums": Projection(sums, retries=100, first_retry=60)})
    for _ in range(10):
        kernel.dispatch(add())
    projection = seen(kernel)
    sums.hook = fails_at(5)
    projection.rebuild()
    rebuild = eventually(lambda: projection.rebuilding and projection.rebuilding.error)
    assert isinstance(rebuild, ZeroDivisionError)
    with pytest.raises(ProjectionBusy, match="is being rebuilt already"):
        projection.rebuild()
    assert projection.status is Status.LIVE
    projection.cancel_rebuild()
    eventually(lambda: projection.rebuilding is None)
    assert projection.state == {"a": 10}


def test_a_changed_version_is_rebuilt_while_the_old_state_is_served(start, store):
    with start(projections={"sums": Sums()}) as kernel:
        for _ in range(50):
            kernel.dispatch(add())
        seen(kernel)
    sums, gate = Sums(factor=2, version="2"), Gate()
    sums.hook = lambda event: event.position == 30 and gate()
    kernel = start(projections={"sums": sums})
    projection = kernel.projection("sums")
    with gate:
        eventually(lambda: projection.status is Status.REBUILDING)
        gate.wait()
        assert (projection.version, projection.position) == ("1", 50)
    eventually(lambda: projection.status is Status.LIVE)
    assert (projection.version, projection.state) == ("2", {"a": 100})


def test_a_version_that_is_taken_back_serves_at_once(start, store):
    for sums in (Sums(), Sums(factor=2, version="2")):
        with start(projections={"sums": sums}) as kernel:
            for _ in range(10):
                kernel.dispatch(add())
            eventually(lambda kernel=kernel: kernel.projection("sums").status is Status.LIVE)
            seen(kernel)
    again = Sums()
    kernel = start(projections={"sums": again})
    assert seen(kernel).state == {"a": 20}
    assert again.handled == list(range(11, 21))


# Life.


def test_after_a_restart_nothing_is_read_again(start, sums):
    kernel = start(projections={"sums": sums})
    for _ in range(100):
        kernel.dispatch(add())
    seen(kernel)
    kernel.stop()
    sums.handled.clear()
    kernel.start()
    kernel.dispatch(add(), wait_for=("sums",))
    assert sums.handled == [101]
    assert kernel.projection("sums").state == {"a": 101}
    assert kernel.audit("sums").complete


def test_of_a_stopped_kernel_nothing_is_to_be_had(kernel):
    kernel.dispatch(add(), wait_for=("sums",))
    projection = kernel.projection("sums")
    assert kernel.stop()
    assert projection.status is Status.ENDED
    for use in (
        lambda: projection.state,
        lambda: projection.wait_for(5),
        projection.rebuild,
        projection.audit,
        lambda: projection.discard(1),
        lambda: kernel.projection("sums"),
        lambda: kernel.audit("sums"),
        lambda: kernel.dispatch(add(), wait_for=("sums",)),
    ):
        with pytest.raises(KernelStopped):
            use()
    assert projection.position == 1


def test_who_waits_when_the_kernel_stops_is_told_at_once(kernel):
    projection, errors = kernel.projection("sums"), []
    waiting = threading.Thread(
        target=lambda: errors.append(attempt(projection.wait_for, 99, 60)), daemon=True
    )
    waiting.start()
    eventually(lambda: projection._view._waiters)
    kernel.stop()
    waiting.join(DEADLINE)
    assert isinstance(errors[0], KernelStopped)


def test_stopping_gives_the_lease_back(start, store):
    kernel = start(projections={"sums": Projection(Sums(), lease_seconds=1000)})
    kernel.dispatch(add(), wait_for=("sums",))
    kernel.stop()
    other = start(projections={"sums": Projection(Sums(), lease_seconds=1000)})
    eventually(lambda: other.projection("sums").status is Status.LIVE)


class Bare:
    """An event store that keeps no checkpoints."""

    def __init__(self):
        store = MemoryStore()
        self.append, self.fold, self.fold_all = store.append, store.fold, store.fold_all
        self.last_position, self.close = store.last_position, store.close


def test_a_store_without_checkpoints_needs_another_that_has_them(start, sums):
    with pytest.raises(InvalidProjection, match=r"Bare keeps no checkpoints.*checkpoint_store="):
        Kernel({TYPE: Tally()}, Bare(), projections={"sums": sums})
    checkpoints = MemoryStore()
    kernel = start(
        event_store=Bare(), checkpoint_store=checkpoints, projections={"sums": Projection(sums)}
    )
    kernel.dispatch(add(), wait_for=("sums",))
    kernel.stop()
    assert checkpoints.load_checkpoint("projection/sums").position == 1


def test_a_projections_own_store_is_preferred(start, store):
    own, common = MemoryStore(), MemoryStore()
    kernel = start(
        checkpoint_store=common,
        projections={"own": Projection(Sums(), store=own), "common": Sums()},
    )
    kernel.dispatch(add(), wait_for=("own", "common"))
    kernel.stop()
    assert own.load_checkpoint("projection/own").position == 1
    assert own.load_checkpoint("projection/common") is None
    assert common.load_checkpoint("projection/common").position == 1
    assert store.load_checkpoint("projection/own") is None


def test_what_is_no_projection_is_refused_before_anything_starts(store):
    for given, error in [([Sums()], TypeError), ({"sums": object()}, InvalidProjection)]:
        with pytest.raises(error):
            Kernel({TYPE: Tally()}, store, projections=given)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_child_projections_are_refused(tmp_path):
    printed = run_script(
        """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from kernel_helpers import TYPE, Tally, add, attempt
        from eskernel import Kernel
        from eskernel_stores import MemoryStore

        class Sums:
            version = "1"
            def init(self):
                return 0
            def handle_event(self, event, state):
                return state + event.payload["n"]

        with Kernel({TYPE: Tally()}, MemoryStore(), projections={"sums": Sums()}) as kernel:
            kernel.dispatch(add(), wait_for=("sums",))
            projection = kernel.projection("sums")
            child = os.fork()
            if child == 0:
                print(type(attempt(kernel.projection, "sums")).__name__, flush=True)
                print(
                    type(attempt(kernel.dispatch, add(), wait_for=("sums",))).__name__, flush=True
                )
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            kernel.dispatch(add(), wait_for=("sums",))
            print(projection.state)
        """
    )
    assert printed.split() == ["KernelStopped", "KernelStopped", "2"]


# Several kernels on one store.


@pytest.fixture(params=["memory", "sqlite"])
def shared(request, tmp_path):
    """A function that opens one store, again and again."""
    if request.param == "memory":
        store = ProbedStore()
        yield lambda: store
        return
    stores = []

    def open_again():
        stores.append(SqlStore(f"sqlite:///{tmp_path / 'shared.db'}"))
        return stores[-1]

    yield open_again
    for store in stores:
        store.close()


def test_of_two_kernels_on_one_store_both_see_everything_and_one_writes(start, shared):
    kernels = [
        start(
            event_store=shared(),
            projections={"sums": Projection(Sums(), poll_interval=0.01, lease_seconds=0.5)},
        )
        for _ in range(2)
    ]

    def write(kernel, name):
        for n in range(1, 21):
            kernel.dispatch(add(name), wait_for=("sums",), timeout=20)
            assert kernel.projection("sums").read(lambda state: state[name]) == n

    run_threads(
        *(lambda k=kernel, n=name: write(k, n) for kernel, name in zip(kernels, "ab", strict=True)),
        timeout=60,
    )
    active = [
        kernel.projection("sums")._ask(lambda projector: projector.active) for kernel in kernels
    ]
    assert sorted(active) == [False, True]
    for kernel in kernels:
        assert seen(kernel).state == {"a": 20, "b": 20}
        assert kernel.audit("sums").complete
    busy = kernels[active.index(False)].projection("sums")
    with pytest.raises(ProjectionBusy, match="holds its lease"):
        busy.rebuild()


def test_when_one_kernel_stops_the_other_takes_over(start, shared):
    first, second = (
        start(
            event_store=shared(),
            projections={"sums": Projection(Sums(), poll_interval=0.01, lease_seconds=0.5)},
        )
        for _ in range(2)
    )
    for _ in range(10):
        first.dispatch(add(), wait_for=("sums",))
    first.stop()
    projection = second.projection("sums")
    eventually(lambda: projection._ask(lambda projector: projector.active))
    second.dispatch(add(), wait_for=("sums",))
    assert projection.state == {"a": 11}
    projection.rebuild()
    eventually(lambda: projection.rebuilding is None)
    assert second.audit("sums", full=True).complete


# Audits.


def test_an_audit_reads_what_is_new(kernel, store, monkeypatch):
    read = []
    fold_all = store.fold_all

    def counting(function, initial, *rest, **options):
        if threading.current_thread() is not threading.main_thread():
            return fold_all(function, initial, *rest, **options)
        return fold_all(
            lambda found, event: (read.append(event.position), function(found, event))[1],
            initial,
            *rest,
            **options,
        )

    store.fold_all = counting
    for _ in range(20):
        kernel.dispatch(add(), wait_for=("sums",))
    audit = kernel.audit("sums")
    assert (audit.complete, audit.position, audit.events, read) == (
        *(True, 20, 20),
        list(range(1, 21)),
    )
    kernel.dispatch(add(), wait_for=("sums",))
    read.clear()
    assert kernel.audit("sums").events == 1
    assert read == [21]
    assert kernel.audit("sums", full=True).events == 21


def test_an_audit_sees_an_event_that_was_passed_over(start, store):
    sums = Sums(event_filter=lambda event: event.position != 7)
    with start(projections={"sums": sums}) as kernel:
        for _ in range(20):
            kernel.dispatch(add(), wait_for=("sums",))
        sums.event_filter = None
        assert kernel.audit("sums").complete  # by the filter it was made with
    audit = start(projections={"sums": Sums()}).audit("sums", full=True)
    assert (audit.complete, audit.missing, audit.doubled) == (False, (7,), ())


def test_audits_beside_commands_find_nothing(kernel):
    done = threading.Event()

    def write():
        for _ in range(300):
            kernel.dispatch(add())
        done.set()

    def check():
        while not done.is_set():
            assert kernel.audit("sums").complete

    run_threads(write, check, timeout=60)
    assert seen(kernel).audit().complete


# Interruption.


def _state(projection):
    return projection.state


def _wait(projection):
    return attempt(projection.wait_for, projection.position + 1, 0.01)


@pytest.mark.stress
@on_cpython_3_11
@pytest.mark.parametrize("use", [_state, _wait])
def test_a_caller_that_is_interrupted_anywhere_harms_nobody(start, store, use):
    kernel = start(projections={"sums": Sums()})
    projection = kernel.projection("sums")
    use(projection)
    for point in itertools.count():
        interrupter = Interrupter(point)
        try:
            with interrupter:
                use(projection)
        except Interrupted:
            pass
        kernel.dispatch(add("a"), wait_for=("sums",))
        assert projection.state["a"] == point + 1
        assert not projection._view.is_awaited
        if interrupter.where is None:
            break
    assert point > 5
    assert kernel.audit("sums").complete


def test_who_waits_can_be_interrupted(kernel):
    projection, raised = kernel.projection("sums"), []

    def wait():
        try:
            projection.wait_for(99, 60)
        except BaseException as error:
            raised.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    eventually(lambda: projection._view.is_awaited)
    raise_in(waiting.ident, Interrupted)
    waiting.join(DEADLINE)
    assert isinstance(raised[0], Interrupted)
    assert not projection._view.is_awaited
    kernel.dispatch(add(), wait_for=("sums",))
