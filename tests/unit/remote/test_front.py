"""A front has the API of a kernel, in front of one that runs elsewhere."""

from __future__ import annotations

import math
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import remote_counting
import remote_domain
from remote_domain import TYPE, Noted
from structlog.testing import capture_logs
from support import eventually
from worker_in_thread import LocalFront, WorkerInThread, setup_of

from eskernel import Command, Projection
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    DispatchTimeout,
    InvalidCommand,
    NotProjected,
    ProjectionBusy,
    StoreUnavailable,
    UnknownAggregateType,
    UnknownProjection,
)
from eskernel.projections.view import Status
from eskernel.remote import front as fronts
from eskernel.remote import router
from eskernel.remote.front import Front
from eskernel.remote.projecting import RemoteProjection

WITHIN = 10


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('front') / 'events.db'}"
    parking = Projection(remote_counting, on_failure="park", retries=0, lease_seconds=1.0)
    stopping = Projection(remote_counting, retries=0)
    setup = setup_of(
        {TYPE: remote_domain}, url, projections={"counts": parking, "stopping": stopping}
    )
    with pytest.MonkeyPatch.context() as patch, capture_logs(), ExitStack() as stack:
        worker = WorkerInThread(patch)
        front = worker.serve(setup)
        stack.callback(worker.ended)
        stack.callback(worker.channel.close)
        stack.enter_context(front)
        eventually(lambda: front.projection("counts").active, WITHIN)
        eventually(lambda: front.projection("stopping").active, WITHIN)
        yield front


@pytest.fixture
def name(request):
    """The id of an aggregate that no other test uses."""
    return request.node.name


def note(name, value=1, **options):
    return Command(TYPE, name, "note", value, **options)


def test_commands_and_questions_are_answered(front, name):
    first = front.dispatch(note(name, Noted("x"), command_id="its", tags=("t",)))
    assert first.events[0].payload["value"] == Noted("x")
    assert front.outcome_of(TYPE, name, "its") == first
    assert front.outcome_of(TYPE, name, "never") is None
    assert front.state_of(TYPE, name) == ([Noted("x")], 1)
    assert (TYPE, name) in front.live_aggregates()
    futures = [front.submit(note(name, number)) for number in range(20)]
    assert [future.result(WITHIN).sequence for future in futures] == list(range(2, 22))


def test_failures_are_raised(front, name):
    with pytest.raises(CommandRejected):
        front.dispatch(Command(TYPE, name, "refuse"))
    with pytest.raises(AggregateCrashed) as crash:
        front.dispatch(Command(TYPE, name, "raise", "arithmetic"))
    assert isinstance(crash.value.__cause__, ZeroDivisionError)
    for way in (front.dispatch, front.submit):
        with pytest.raises(UnknownAggregateType):
            way(Command("other", name, "note"))
        with pytest.raises(InvalidCommand):
            way(note(name, object()))
        with pytest.raises(InvalidCommand):
            way(note(name, tags=("",)))
        with pytest.raises(InvalidCommand):
            way(7)
        with pytest.raises(UnknownAggregateType):
            way(Command([], name, "note"))


def test_a_state_that_cannot_be_copied_is_told(front):
    with pytest.raises(InvalidCommand):
        front.state_of(TYPE, "")


def test_a_command_that_waits_in_vain_never_begins(front, name, tmp_path):
    go = tmp_path / "x.go"
    held = front.submit(Command(TYPE, name, "wait", str(go)))
    eventually(go.with_suffix(".begun").exists)
    with pytest.raises(DispatchTimeout) as timeout:
        front.dispatch(note(name), timeout=0.05)
    assert not timeout.value.started
    with pytest.raises(DispatchTimeout):
        front.state_of(TYPE, name, timeout=0.05)
    go.touch()
    assert held.result(WITHIN).sequence == 1
    assert front.state_of(TYPE, name)[1] == 1


def test_a_command_that_has_begun_in_vain_may_still_finish(front, name, tmp_path):
    go = tmp_path / "x.go"
    for patience in (0.05, 0.5, 5.0):  # one that has not begun never does
        with pytest.raises(DispatchTimeout) as timeout:
            front.dispatch(Command(TYPE, name, "wait", str(go)), timeout=patience)
        if timeout.value.started:
            break
    assert timeout.value.started
    go.touch()
    eventually(lambda: front.state_of(TYPE, name)[1] == 1)


def test_names_that_were_checked_are_forgotten_when_they_are_too_many(front, name, monkeypatch):
    monkeypatch.setattr(router, "_KNOWN", 3)
    for number in range(8):
        assert front.dispatch(note(f"{name}-{number}")).sequence == 1
        assert len(front._present().router._known) <= 3


def test_a_front_is_for_its_subclasses():
    with pytest.raises(TypeError, match="abstract"):
        Front(setup_of({TYPE: remote_domain}))


def alone(link):
    """A front whose only kernel is behind this link."""
    front = LocalFront(setup_of({TYPE: remote_domain}), None)
    front._running = SimpleNamespace(
        router=router.Router(front._wire.domains, 1), slot_of=lambda _: link, slots=[link]
    )
    return front


def test_a_process_that_hangs_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(fronts, "GRACE", 0.05)

    class Hanging:
        def post(self, call):
            call.reply.claim(self)

        def withdraw(self, call):
            withdrawn.append(call)

    withdrawn = []
    front = alone(Hanging())
    with pytest.raises(DispatchTimeout, match="may hang") as timeout:
        front.dispatch(note("a"), timeout=0.01)
    assert timeout.value.started
    with pytest.raises(DispatchTimeout, match="may hang"):
        front.state_of(TYPE, "a", timeout=0.01)
    assert len(withdrawn) == 2


def test_a_caller_that_is_interrupted_takes_its_command_back(monkeypatch):
    withdrawn = []

    class Interrupting:
        def post(self, call):
            call.reply.wait = self.wait

        def wait(self, seconds):
            raise KeyboardInterrupt

        def withdraw(self, call):
            withdrawn.append(call)

    class Waited:
        def __init__(self):
            self.wait = None

    monkeypatch.setattr(fronts, "WaitedReply", Waited)
    with pytest.raises(KeyboardInterrupt):
        alone(Interrupting()).dispatch(note("a"))
    assert len(withdrawn) == 1


# Projections.


def test_who_cannot_ask_a_projection_hears_that_the_events_are_stored(front, name, monkeypatch):
    def refuse(self, *_, **__):
        raise DispatchTimeout("it never began", started=False)

    monkeypatch.setattr(RemoteProjection, "wait_for", refuse)
    with pytest.raises(NotProjected, match="are stored") as failure:
        front.dispatch(note(name), wait_for=("counts",))
    assert failure.value.accepted.sequence == 1
    assert isinstance(failure.value.__cause__, DispatchTimeout)


def test_a_projection_follows_and_is_waited_for(front, name):
    done = front.dispatch(note(name, "seen"), wait_for=("counts",))
    projection = front.projection("counts")
    assert projection.position >= done.position
    assert projection.state["last"] == "seen"
    projection.wait_for(timeout=WITHIN)
    assert projection.lag == 0
    assert (projection.name, projection.status, projection.error) == ("counts", Status.LIVE, None)
    assert projection.active
    assert projection.version == "1"
    assert projection.rebuilding is None
    assert "'counts'" in repr(projection)
    assert str(projection.position) in repr(projection)


def test_a_projection_is_read_where_it_is_or_here(front, name):
    front.dispatch(note(name, Noted(1)), wait_for=("counts",))
    projection = front.projection("counts")
    count = projection.state["count"]
    assert projection.read(remote_domain.length) == 2
    assert projection.read(lambda state: state["count"]) == count
    assert projection.state["last"] == Noted(1)
    with pytest.raises(KeyError):
        projection.read(remote_domain.lookup)
    with pytest.raises(ValueError, match="timeout"):
        projection.read(None, timeout=-1)


def test_projections_that_there_are_not_are_named(front, name):
    with pytest.raises(UnknownProjection) as unknown:
        front.projection("count")
    assert set(unknown.value.known) == {"counts", "stopping"}
    with pytest.raises(UnknownProjection):
        front.dispatch(note(name), wait_for=("count",))
    with pytest.raises(TypeError, match="tuple"):
        front.dispatch(note(name), wait_for="counts")
    assert front.state_of(TYPE, name)[1] == 0, "nothing was done"


def test_who_waits_in_vain_hears_what_was_stored(front, name):
    ahead = front.projection("counts").position + 1000
    with pytest.raises(NotProjected) as late:
        front.projection("counts").wait_for(ahead, timeout=0.05)
    assert (late.value.projection, late.value.position) == ("counts", ahead)
    assert late.value.accepted is None


def test_a_parked_event_can_be_retried_or_discarded(front, name, tmp_path):
    flag = tmp_path / "broken"
    flag.touch()
    first, second = (front.dispatch(note(name, f"fail if {flag}")) for _ in range(2))
    projection = front.projection("counts")
    projection.wait_for(second.position, timeout=WITHIN)
    mine = {first.position, second.position}
    (one, _) = [one for one in projection.parked if one.position in mine]
    assert one.stream_id == (TYPE, name)
    assert "ZeroDivisionError" in one.error
    with pytest.raises(ZeroDivisionError):
        projection.retry(first.position)
    flag.unlink()
    projection.retry(first.position)
    projection.discard(second.position)
    eventually(lambda: not mine & {one.position for one in projection.parked})
    audit = front.audit("counts")
    assert audit.complete
    assert second.position in audit.discarded
    front.projection("stopping").resume()


def test_an_audit_compares_with_the_log(front, name):
    front.dispatch(note(name), wait_for=("counts",))
    audit = front.projection("counts").audit(full=True)
    assert (audit.complete, audit.missing, audit.doubled) == (True, (), ())
    assert audit.position == front.projection("counts").position


def test_a_projection_is_built_anew_and_rolled_back(front, name):
    front.dispatch(note(name), wait_for=("counts",))
    projection = front.projection("counts")
    before = projection.state["count"]
    projection.rebuild()
    eventually(lambda: projection.rebuilding is None, WITHIN)
    assert projection.state["count"] >= before, "what was discarded is handled again"
    projection.rollback()
    eventually(lambda: projection.state["count"] == before, WITHIN)
    with pytest.raises(ProjectionBusy):
        projection.cancel_rebuild()


def test_one_that_has_stopped_says_why_and_resumes(front, name, tmp_path):
    flag = tmp_path / "broken"
    flag.touch()
    projection = front.projection("stopping")
    projection.wait_for(timeout=WITHIN)
    failing = front.dispatch(note(name, f"fail if {flag}"))
    eventually(lambda: projection.status is Status.STOPPED, WITHIN)
    assert isinstance(projection.error, ZeroDivisionError)
    with pytest.raises(NotProjected) as stopped:
        front.dispatch(note(name, "behind"), wait_for=("stopping",), timeout=WITHIN)
    assert stopped.value.accepted.sequence == 2
    assert stopped.value.reached < failing.position
    flag.unlink()
    projection.resume()
    projection.wait_for(timeout=WITHIN)
    assert projection.error is None


def test_an_audit_takes_as_long_as_it_takes(front, monkeypatch):
    asked = []
    ask = front._ask_projection
    monkeypatch.setattr(
        front, "_ask_projection", lambda *what: (asked.append(what[2:]), ask(*what))[1]
    )
    front.audit("counts")
    assert (math.inf, "audit", False) in asked


# The end of the worker.


def test_what_a_worker_took_along_is_told(monkeypatch, tmp_path):
    with capture_logs():
        worker = WorkerInThread(monkeypatch)
        front = worker.serve(setup_of({TYPE: remote_domain}))
        go = tmp_path / "x.go"
        future = front.submit(Command(TYPE, "a", "wait", str(go)))
        eventually(go.with_suffix(".begun").exists)
        worker.channel.close()
        with pytest.raises(StoreUnavailable) as lost:
            future.result(WITHIN)
        assert lost.value.outcome_unknown
        go.touch()
        worker.ended()
        worker.channel.dispose()
