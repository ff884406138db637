"""The rows of the failure table that speak of projections."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kernel_helpers import TYPE, Gate, Tally, add, attempt, events_of, numbers_of
from sqlalchemy import Column, Integer, MetaData, Table
from support import eventually

from eskernel import Kernel, Projection
from eskernel.errors import (
    InvalidProjection,
    NotProjected,
    ProjectionBusy,
    StaleEpoch,
    UnknownProjection,
)
from eskernel.projections import Status
from eskernel.values import SERVING
from eskernel_stores import MemoryStore

KEY = "projection/seen"


class Seen:
    """A projection that lists the numbers added; `hook(number)` runs first."""

    version = "1"

    def __init__(self):
        self.hook = lambda _number: None

    def init(self):
        return []

    def handle_event(self, event, state):
        self.hook(event.payload["n"])
        return [*state, event.payload["n"]]

    def fail_on(self, *numbers):
        def fail(number):
            if number in numbers:
                raise ValueError(f"no {number}")

        self.hook = fail


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def run(start, seen):
    """Starts a kernel with the projection, by default without patience for failing events."""

    def run(**options):
        return start(projections={"seen": Projection(seen, **{"retries": 0, **options})})

    return run


# A projection of `wait_for` is late, or has stopped.


def test_a_late_projection_is_told_with_the_outcome_and_the_events_are_stored(run, store, seen):
    kernel = run()
    with Gate() as gate:
        seen.hook = lambda _number: gate()
        with pytest.raises(NotProjected) as late:
            kernel.dispatch(add(n=5), wait_for=("seen",), timeout=0.1)
        error = late.value
        assert (error.projection, error.position, error.reached) == ("seen", 1, 0)
        assert (error.accepted.sequence, error.accepted.position) == (1, 1)
        assert numbers_of(store) == [5]
    kernel.projection("seen").wait_for(1)
    assert kernel.projection("seen").state == [5]


def test_nobody_waits_for_a_projection_that_has_stopped(run, seen):
    kernel = run()
    seen.fail_on(5)
    with pytest.raises(NotProjected, match="has stopped before position 1") as stopped:
        kernel.dispatch(add(n=5), wait_for=("seen",), timeout=60)
    assert isinstance(stopped.value.__cause__, ValueError)
    with pytest.raises(NotProjected):
        kernel.dispatch(add(n=6), wait_for=("seen",), timeout=60)


# No projection of that name.


@pytest.mark.parametrize(
    "call",
    [
        lambda kernel: kernel.dispatch(add(), wait_for=("seen", "none")),
        lambda kernel: kernel.projection("none"),
        lambda kernel: kernel.audit("none"),
    ],
)
def test_an_unknown_projection_is_told_before_anything_is_done(call, run, store):
    with pytest.raises(UnknownProjection) as unknown:
        call(run())
    assert (unknown.value.name, unknown.value.known) == ("none", ("seen",))
    assert events_of(store) == []


# A projection misses a function, or a store for it.


def test_a_module_that_is_no_projection_is_refused_by_the_kernel():
    with pytest.raises(InvalidProjection, match=r"needs a function handle_event\(event, state\)"):
        Kernel({TYPE: Tally()}, MemoryStore(), projections={"seen": SimpleNamespace(init=list)})


def test_a_store_that_keeps_no_tables_is_refused_by_the_kernel():
    table = Table("seen", MetaData(), Column("n", Integer, primary_key=True))
    module = SimpleNamespace(tables=(table,), handle_event=lambda _event, _connection: None)
    with pytest.raises(InvalidProjection, match="tables"):
        Kernel({TYPE: Tally()}, MemoryStore(), projections={"seen": module})


def test_a_store_that_keeps_no_checkpoints_is_refused_by_the_kernel(seen):
    class Plain:
        """An event store, and no more."""

    for name in ("append", "fold", "fold_all", "last_position", "close"):
        setattr(Plain, name, staticmethod(getattr(MemoryStore(), name)))
    with pytest.raises(InvalidProjection, match="checkpoint_store"):
        Kernel({TYPE: Tally()}, Plain(), projections={"seen": seen})


# A handler raises.


def test_a_handler_that_raises_stops_its_projection_and_nothing_else(run, seen):
    kernel = run(retries=1, first_retry=0.01)
    seen.fail_on(2)
    for number in (1, 2, 3):
        kernel.dispatch(add(n=number))
    projection = kernel.projection("seen")
    eventually(lambda: projection.status is Status.STOPPED)
    assert (projection.state, str(projection.error)) == ([1], "no 2")
    assert kernel.dispatch(add(n=4)).sequence == 4
    seen.fail_on()
    projection.resume()
    projection.wait_for(4)
    assert projection.state == [1, 2, 3, 4]


def test_a_parked_event_is_told_and_can_be_retried_or_given_up(run, seen):
    kernel = run(on_failure="park")
    seen.fail_on(2, 3)
    for number in (1, 2, 3, 4):
        kernel.dispatch(add(n=number))
    projection = kernel.projection("seen")
    projection.wait_for(4)
    assert projection.state == [1, 4]
    assert [(one.sequence, one.error) for one in projection.parked] == [
        (2, "ValueError: no 2"),
        (3, "ValueError: no 3"),
    ]
    with pytest.raises(ValueError, match="no 2"):
        projection.retry(2)
    seen.fail_on()
    projection.retry(2)
    projection.discard(3)
    assert projection.state == [1, 4, 2]
    for change in (projection.retry, projection.discard):
        with pytest.raises(LookupError):
            change(3)
    audit = kernel.audit("seen")
    assert (audit.complete, audit.discarded) == (True, (3,))


# It is asked for what it cannot do now, or another process runs it.


def test_what_does_not_fit_what_a_projection_is_doing_is_refused(run, seen):
    kernel = run(retries=10_000, first_retry=0.01, longest_retry=0.01)
    kernel.dispatch(add(n=1), wait_for=("seen",))
    projection = kernel.projection("seen")
    for change in (projection.rollback, projection.cancel_rebuild):
        with pytest.raises(ProjectionBusy):
            change()
    seen.fail_on(1)
    projection.rebuild()
    with pytest.raises(ProjectionBusy, match="is being rebuilt"):
        projection.rebuild()
    eventually(lambda: projection.rebuilding and projection.rebuilding.error)
    seen.fail_on()
    eventually(lambda: projection.rebuilding is None)
    projection.rollback()
    projection.rollback()
    assert projection.state == [1]


def test_a_projection_that_another_kernel_runs_is_its_to_change(run, seen):
    first, second = run(), run()
    first.dispatch(add(n=1), wait_for=("seen",))
    second.projection("seen").wait_for(1)
    answers = [attempt(kernel.projection("seen").rebuild) for kernel in (first, second)]
    (refused,) = [answer for answer in answers if answer is not None]
    assert isinstance(refused, ProjectionBusy)
    assert "holds its lease" in str(refused)


# Another process has taken over just now.


def test_who_lost_the_lease_just_now_stores_nothing_and_goes_on_when_it_has_it_again(
    run, store, seen
):
    kernel = run(on_failure="park", lease_seconds=0.3)
    seen.fail_on(1)
    projection = kernel.projection("seen")
    kernel.dispatch(add(n=1), wait_for=("seen",))
    stored = eventually(lambda: store.load_checkpoint(KEY))
    store.save_checkpoints(KEY, stored.epoch + 10, {SERVING: stored})
    seen.fail_on()
    with pytest.raises(StaleEpoch) as stale:
        projection.retry(1)
    assert (stale.value.name, stale.value.newest) == (KEY, stored.epoch + 10)
    assert store.load_checkpoint(KEY).state == stored.state
    eventually(lambda: attempt(projection.retry, 1) is None)
    assert projection.state == [1]
    assert kernel.audit("seen").complete
