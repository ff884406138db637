"""What a projection does after calls to its store that failed, or whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from projection_helpers import (
    HookedStore,
    Noting,
    NotingTable,
    append,
    check_handled,
    matching,
    projector,
    run_to_end,
    stored,
)

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.projections import pages
from eskernel.projections.audit import audit
from eskernel.projections.read_model import PREVIOUS
from eskernel.testing import ManualClock
from eskernel.values import SERVING, Event
from eskernel_stores import MemoryStore


class Failures:
    """A hook that lets some calls fail.

    Attributes:
        wanted: from name and "before" or "after" to how many of these calls fail next.
    """

    def __init__(self) -> None:
        self.wanted: dict[tuple[str, str], int] = {}

    def __call__(self, *call: str) -> None:
        if self.wanted.get(call, 0):  # type: ignore[call-overload]
            self.wanted[call] -= 1  # type: ignore[index]
            raise StoreUnavailable("made to fail", outcome_unknown=True)


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(failures: Failures, clock: ManualClock) -> Callable[..., Any]:
    """Return a function that makes a projector which commits when it must only."""

    def start(module: Noting, store: Any, **options: Any) -> Any:
        lazy = {"checkpoint_events": 1000, "checkpoint_seconds": 1000.0, "lease_seconds": 1e6}
        hooked = HookedStore(store, failures)
        return projector(module, hooked, clock=clock, seed=0, **{**lazy, **options})

    return start


def test_an_event_that_went_well_at_last_is_not_handled_again_if_its_commit_fails(
    failures: Failures, clock: ManualClock, start: Any
) -> None:
    store, module = MemoryStore(), Noting()
    append(store, ("a", "x"), 3)
    module.failing[2] = 1
    one = start(module, store)
    one.step()  # it fails
    one.step()  # what was before it is handled
    one.step()  # and stored
    clock.advance(1)
    failures.wanted["save_checkpoints", "before"] = 1
    run_to_end(one, store, clock)
    assert one.read(list) == [1, 2, 3]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_row_that_was_written_at_last_is_not_written_again_if_its_commit_fails(
    failures: Failures, clock: ManualClock, start: Any, open_sql: Any, sqlite_url: str, when: str
) -> None:
    store, module = open_sql(sqlite_url), NotingTable()
    append(store, ("a", "x"), 3)
    module.failing[2] = 1
    one = start(module, store)
    while one.progress.position < 1 or one._serving.failure is None:
        one.step()
    clock.advance(1)
    failures.wanted["commit", when] = 1
    run_to_end(one, store, clock)
    assert stored(module, store, SERVING)[0] == [1, 2, 3]


def test_events_in_front_of_one_that_fails_are_not_passed_over_if_they_spoil_the_commit(
    clock: ManualClock, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SMALLEST", 3)
    store, module = MemoryStore(), Noting()
    append(store, ("a", "x"), 3)
    module.spoiling[1] = 2
    module.failing[3] = 1
    one = start(module, store, first_retry=1e-6)
    for _ in range(30):
        one.step()
        clock.advance(1)
    assert one.read(list) == [1, 2, 3]


def test_nothing_is_shown_that_a_lost_commit_has_taken_along(
    failures: Failures, clock: ManualClock, start: Any, open_sql: Any, sqlite_url: str
) -> None:
    store, module = open_sql(sqlite_url), NotingTable()
    one = start(module, store)
    one.step()
    append(store, ("a", "x"), 3)
    # The outage goes on for so long that it cannot be found out what has become of the commit.
    failures.wanted = {("commit", "before"): 1, ("begin", "before"): 0}

    def begins_fail(*call: str) -> None:
        Failures.__call__(failures, *call)

    module.before = lambda _: failures.wanted.__setitem__(("begin", "before"), 2)
    one.step()
    module.before = lambda _: None
    assert stored(module, store, SERVING)[0] == []
    assert one.view.position == 0
    one.step()
    assert one.view.position == 0
    run_to_end(one, store, clock)
    assert stored(module, store, SERVING)[0] == [1, 2, 3]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_rebuild_goes_on_from_what_was_built_if_a_commit_is_in_doubt(
    failures: Failures, clock: ManualClock, start: Any, open_sql: Any, sqlite_url: str, when: str
) -> None:
    store, module = open_sql(sqlite_url), NotingTable()
    append(store, ("a", "x"), 3)
    one = start(module, store)
    run_to_end(one, store, clock)
    one.rebuild()
    failures.wanted["commit", when] = 1
    module.before = lambda _: failures.wanted.__setitem__(("begin", "before"), 1)
    one.step()  # what was built is lost, or not: it cannot be found out
    module.before = lambda _: None
    append(store, ("a", "x"), 2)  # so that what serves goes first
    run_to_end(one, store, clock)
    assert stored(module, store, SERVING)[0] == matching(store)
    check_handled(*stored(module, store, PREVIOUS), matching(store))


def test_what_was_proved_is_not_noted_for_a_state_that_was_rolled_back_meanwhile(
    clock: ManualClock, start: Any
) -> None:
    store, module = MemoryStore(), Noting()
    append(store, ("a", "x"), 2)
    one = start(module, store)
    run_to_end(one, store, clock)
    one.rebuild()
    run_to_end(one, store, clock)
    append(store, ("a", "x"), 3)
    run_to_end(one, store, clock)
    progress = one.progress
    one.rollback()
    one.note_proved(progress.position + 1, progress.generation)
    one.step()
    one.release()
    check_handled(*stored(module, store, SERVING), matching(store))
    run_to_end(start(module, store), store, clock)


def test_what_was_proved_is_not_noted_for_events_that_spoil_the_commit(
    clock: ManualClock, start: Any
) -> None:
    store, module = MemoryStore(), Noting()
    append(store, ("a", "x"), 3)
    module.spoiling[2] = 1
    one = start(module, store)
    one.step()
    progress = one.progress
    assert progress.position == 3
    one.note_proved(progress.position + 1, progress.generation)
    assert one.progress.ledger.reached == one.progress.position
    run_to_end(one, store, clock)
    assert audit(one._definition, store, one.progress, full=True).complete


def test_a_table_is_there_before_its_first_event_and_can_be_rolled_back_to(
    clock: ManualClock, start: Any, open_sql: Any, sqlite_url: str
) -> None:
    store, module = open_sql(sqlite_url), NotingTable()
    one = start(module, store)
    run_to_end(one, store, clock)
    assert stored(module, store, SERVING)[0] == []
    one.rebuild()
    run_to_end(one, store, clock)
    append(store, ("a", "x"), 3)
    run_to_end(one, store, clock)
    one.rollback()
    run_to_end(one, store, clock)
    assert stored(module, store, SERVING)[0] == [1, 2, 3]


def test_a_discard_that_failed_can_be_asked_for_again_in_tables(
    failures: Failures, clock: ManualClock, start: Any, open_sql: Any, sqlite_url: str
) -> None:
    store, module = open_sql(sqlite_url), NotingTable()
    append(store, ("a", "x"), 3)
    module.failing[2] = 9
    one = start(module, store, on_failure="park", retries=0)
    run_to_end(one, store, clock)
    failures.wanted["commit", "before"] = 1
    with pytest.raises(StoreUnavailable):
        one.discard_parked(2)
    one.discard_parked(2)
    assert stored(module, store, SERVING)[1].discarded == (2,)


def test_what_served_is_kept_as_it_was_if_it_could_not_be_stored_and_then_stopped(
    failures: Failures, clock: ManualClock, start: Any
) -> None:
    store, module = MemoryStore(), Noting()
    one = start(module, store, checkpoint_events=1)
    one.step()
    append(store, ("a", "x"), 3)
    failures.wanted["save_checkpoints", "before"] = 1
    one.step()
    one._serving.stopped = CorruptStore("the log is damaged, for a while")
    one.rebuild()
    for _ in range(5):
        one.step()
    one.rollback()
    run_to_end(one, store, clock)
    assert one.read(list) == [1, 2, 3]


def test_an_event_that_cannot_be_filtered_is_parked_and_does_not_stop_the_audit(
    clock: ManualClock, start: Any
) -> None:
    def wants(event: Event) -> bool:
        if event.payload["n"] == 2:
            raise ValueError("cannot look into it")
        return True

    store, module = MemoryStore(), Noting()
    module.event_filter = wants
    append(store, ("a", "x"), 3)
    one = start(module, store, on_failure="park", retries=0)
    run_to_end(one, store, clock)
    found = audit(one._definition, store, one.progress)
    assert (found.complete, found.parked) == (True, (2,))


def test_who_follows_notices_a_rollback(
    clock: ManualClock, start: Any, open_sql: Any, sqlite_url: str
) -> None:
    store, module = open_sql(sqlite_url), NotingTable()
    append(store, ("a", "x"), 2)
    one, follower = start(module, store), start(NotingTable(), store)
    run_to_end(one, store, clock)
    one.rebuild()
    run_to_end(one, store, clock)
    append(store, ("a", "x"), 3)
    run_to_end(one, store, clock)
    follower.step()
    assert follower.view.position == 5
    one.rollback()
    follower.step()
    assert follower.view.position == 2
