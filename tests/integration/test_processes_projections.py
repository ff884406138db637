"""Projections of a ProcessKernel: shared by all workers, moved on by one, asked through any."""

from __future__ import annotations

import os

import pytest
import remote_counting
import remote_domain
from remote_domain import TYPE, Noted
from structlog.testing import capture_logs
from support import eventually

from domains import account_balances, bank_account
from eskernel import Command, ProcessKernel, Projection
from eskernel.errors import NotProjected, ProjectionBusy, UnknownProjection
from eskernel.projections.view import Status

WITHIN = 10


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("projections")
    counts = Projection(remote_counting, on_failure="park", retries=0)
    with (
        capture_logs(),
        ProcessKernel(
            {TYPE: remote_domain, "bank_account": bank_account},
            f"sqlite:///{folder / 'events.db'}",
            workers=2,
            spares=0,
            projections={
                "balances": account_balances,
                "counts": counts,
                "elsewhere": Projection(
                    "domains.account_balances", f"sqlite:///{folder / 'elsewhere.db'}"
                ),
                "stopping": Projection("remote_counting", retries=0),
            },
            initializer=remote_domain.be_quiet,
        ) as kernel,
    ):
        yield kernel


@pytest.fixture
def name(request):
    """The id of an aggregate that no other test uses."""
    return request.node.name


def deposit(name, amount):
    return Command("bank_account", name, "deposit", {"amount": amount})


def note(name, value=1):
    return Command(TYPE, name, "note", value)


def test_a_projection_sees_what_all_workers_store(kernel, name):
    accounts = [f"{name}-{number}" for number in range(6)]
    for amount, account in enumerate(accounts, 1):
        done = kernel.dispatch(deposit(account, amount), wait_for=("balances", "elsewhere"))
        for projection in ("balances", "elsewhere"):
            assert kernel.projection(projection).position >= done.position
            assert kernel.projection(projection).read(lambda state: state)[account] == amount
    expected = dict(zip(accounts, range(1, 7), strict=True))
    assert kernel.projection("balances").state.items() >= expected.items()


def test_one_worker_moves_a_projection_on_and_is_found(kernel, name):
    kernel.dispatch(deposit(name, 1), wait_for=("balances",))
    projection = kernel.projection("balances")
    assert projection.active
    eventually(lambda: projection.status is Status.LIVE, WITHIN)
    assert (projection.error, projection.parked, projection.rebuilding) == (None, (), None)
    projection.wait_for(timeout=WITHIN)
    assert projection.lag == 0


def test_a_function_of_a_module_runs_where_the_state_is(kernel):
    workers = set(kernel.worker_pids())
    projection = kernel.projection("counts")
    assert projection.read(remote_domain.where) in workers
    assert projection.read(lambda state: os.getpid()) == os.getpid()


def test_what_is_read_may_hold_declared_dataclasses(kernel, name):
    kernel.dispatch(Command(TYPE, name, "note_all", [1]), wait_for=("counts",))
    assert kernel.projection("counts").state["last"] == Noted(1)
    with pytest.raises(KeyError, match="nothing"):
        kernel.projection("counts").read(remote_domain.lookup)


def test_who_waits_in_vain_hears_what_was_stored(kernel, name, tmp_path):
    flag = tmp_path / "broken"
    flag.touch()
    projection = kernel.projection("stopping")
    failing = kernel.dispatch(note(name, f"fail if {flag}"))
    eventually(lambda: projection.status is Status.STOPPED, WITHIN)
    assert isinstance(projection.error, ZeroDivisionError)
    with pytest.raises(NotProjected) as late:
        kernel.dispatch(note(name), wait_for=("stopping",), timeout=WITHIN)
    assert late.value.accepted.sequence == 2
    assert late.value.accepted.events[0].payload["value"] == 1
    assert late.value.projection == "stopping"
    assert late.value.reached < failing.position
    flag.unlink()
    projection.resume()
    projection.wait_for(timeout=WITHIN)
    assert projection.error is None


def test_who_waits_for_too_little_time_hears_how_far_it_has_come(kernel):
    projection = kernel.projection("counts")
    ahead = projection.position + 1000
    with pytest.raises(NotProjected) as late:
        projection.wait_for(ahead, timeout=0.01)
    assert late.value.position == ahead


def test_a_parked_event_is_listed_retried_or_discarded(kernel, name, tmp_path):
    flag = tmp_path / "broken"
    flag.touch()
    projection = kernel.projection("counts")
    first, second = (kernel.dispatch(note(name, f"fail if {flag}")) for _ in range(2))
    projection.wait_for(second.position, WITHIN)
    mine = {first.position, second.position}
    eventually(lambda: mine <= {one.position for one in projection.parked}, WITHIN)
    flag.unlink()
    projection.retry(first.position)
    projection.discard(second.position)
    eventually(lambda: not mine & {one.position for one in projection.parked}, WITHIN)
    audit = kernel.audit("counts", full=True)
    assert audit.complete
    assert second.position in audit.discarded
    stopping = kernel.projection("stopping")  # it has stopped before the first
    stopping.resume()
    stopping.wait_for(timeout=WITHIN)


def test_a_projection_is_built_anew_and_rolled_back(kernel, name):
    kernel.dispatch(deposit(name, 7), wait_for=("balances",))
    projection = kernel.projection("balances")
    projection.rebuild()
    eventually(lambda: projection.rebuilding is None, WITHIN)
    assert projection.state[name] == 7
    assert kernel.audit("balances").complete
    projection.rollback()
    projection.wait_for(timeout=WITHIN)
    assert projection.state[name] == 7
    with pytest.raises(ProjectionBusy):
        projection.cancel_rebuild()


def test_a_projection_that_there_is_not_is_refused_before_anything_is_done(kernel, name):
    with pytest.raises(UnknownProjection) as unknown:
        kernel.dispatch(note(name), wait_for=("nothing",))
    assert set(unknown.value.known) == {"balances", "counts", "elsewhere", "stopping"}
    assert kernel.state_of(TYPE, name) == ([], 0)
