"""The actors that step consumers, and what starts, restarts and ends them."""

import threading
import time
from functools import partial

import pykka
import pytest
import structlog
from support import eventually, run_threads

from eskernel.actors.bell import Bell
from eskernel.actors.consuming.actor import Call, ConsumerActor, Post
from eskernel.actors.consuming.registry import Registry
from eskernel.actors.consuming.supervisor import ProjectionSupervisor
from eskernel.actors.supervision import ChildSpec, stop_and_wait
from eskernel.errors import StoreUnavailable
from eskernel.projections import Projection
from eskernel.projections.callback_model import CallbackModel
from eskernel.projections.consumer import Consumer
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.view import Status, View
from eskernel.values import Event
from eskernel_stores import MemoryStore

KEY = "subscription/test"
STREAM = ("thing", "a")
DEADLINE = 5


class Rig:
    """A consumer that calls back, over a MemoryStore, and all that its actor needs.

    Attributes:
        got: positions the callback was called with.
        lives: consumers made so far.
        hook: called with each event after that.
    """

    def __init__(self, *, store=None, poll_interval=60.0, lease_seconds=60.0, **options):
        self.store = store or MemoryStore()
        self.bell = Bell()
        self.post = Post()
        self.view = View()
        self.got = []
        self.lives = []
        self.hook = lambda event: None
        self.options = Projection(
            None, poll_interval=poll_interval, lease_seconds=lease_seconds, **options
        )

    def call(self, event):
        self.got.append(event.position)
        self.hook(event)

    def make(self):
        class Module:
            version = "1"
            init = staticmethod(lambda: None)
            handle_event = staticmethod(lambda event, state: None)

        definition = Definition("test", Module)
        model = CallbackModel(self.call, self.store, KEY)
        self.lives.append(
            Consumer(
                *(definition, self.options, model, self.store, self.store, KEY),
                *(f"me/{len(self.lives)}", self.view, time),
            )
        )
        return self.lives[-1]

    def append(self, count=1):
        """Append events and ring."""
        before = self.store.fold(STREAM, lambda number, _: number + 1, 0)
        events = [Event(STREAM, before + n, "added", n) for n in range(1, count + 1)]
        position = self.store.append(STREAM, events, expected_sequence=before)
        self.bell.ring()
        return position

    @property
    def stored(self):
        found = self.store.load_checkpoint(KEY)
        return None if found is None else Progress.of(found).position

    def start(self):
        return ConsumerActor.start(self.post, self.make, self.bell)

    @property
    def spec(self):
        return ChildSpec(KEY, partial(ConsumerActor.start, self.post, self.make, self.bell))


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as logs:
        yield logs


@pytest.fixture
def stopping():
    """Stops actors after the test."""
    refs = []
    yield refs.append
    for ref in refs:
        assert stop_and_wait(ref, DEADLINE)


@pytest.fixture
def started(stopping):
    def started(rig=None, **options):
        rig = rig or Rig(**options)
        ref = rig.start()
        stopping(ref)
        eventually(lambda: rig.view.status is not Status.STARTING)
        return rig, ref

    return started


# The actor.


def test_it_begins_by_itself_with_what_is_there(started):
    rig = Rig()
    rig.append(100)
    started(rig)
    eventually(lambda: rig.view.position == 100)
    assert rig.got == list(range(1, 101))


def test_it_looks_when_the_bell_rings_and_not_before(started):
    rig, _ = started()
    for number in range(1, 20):
        assert rig.append() == number
        assert rig.view.wait_for(number, DEADLINE)
    assert rig.got == list(range(1, 20))


def test_without_a_bell_it_looks_after_its_pause(started):
    rig, _ = started(poll_interval=0.01)
    before = rig.store.fold(STREAM, lambda number, _: number + 1, 0)
    rig.store.append(STREAM, [Event(STREAM, before + 1, "added", 1)], expected_sequence=before)
    assert rig.view.wait_for(1, DEADLINE)


def test_while_it_is_told_of_commits_it_rests_between_two_looks(started):
    rig = Rig()
    looks = []
    rig.make_inner, rig.make = rig.make, None

    def make():
        consumer = rig.make_inner()
        step = consumer.step
        consumer.step = lambda: (looks.append(time.monotonic()), step())[1]
        return consumer

    rig.make = make
    started(rig)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.2:
        rig.append()
    eventually(lambda: rig.view.position == rig.store.last_position())
    assert len(looks) < rig.store.last_position()
    assert rig.got == list(range(1, rig.store.last_position() + 1))


def test_a_call_runs_between_two_steps_on_its_thread(started):
    rig, ref = started()
    rig.hook = lambda event: threads.add(threading.get_ident())
    threads = set()
    assert ref.ask(Call(lambda consumer: consumer.progress.position), timeout=DEADLINE) == 0
    rig.append(100)
    for _ in range(20):
        threads.add(ref.ask(Call(lambda _: threading.get_ident()), timeout=DEADLINE))
    eventually(lambda: rig.view.position == 100)
    assert threads == {rig.post.thread}
    assert rig.post.ref is ref


def test_what_a_call_raises_is_its_callers_and_ends_nobody(started):
    rig, ref = started()
    with pytest.raises(ZeroDivisionError):
        ref.ask(Call(lambda _: 1 / 0), timeout=DEADLINE)
    assert rig.view.wait_for(rig.append(), DEADLINE)


def test_a_call_has_it_look_at_once(started):
    rig, ref = started()
    before = rig.store.fold(STREAM, lambda number, _: number + 1, 0)
    rig.store.append(STREAM, [Event(STREAM, before + 1, "added", 1)], expected_sequence=before)
    ref.ask(Call(lambda _: None), timeout=DEADLINE)
    assert rig.view.wait_for(1, DEADLINE)


def test_other_messages_are_none_of_its_business(started):
    rig, ref = started()
    ref.ask("hello", timeout=DEADLINE)
    assert rig.view.wait_for(rig.append(), DEADLINE)


def test_when_stopped_it_stores_its_position_and_frees_its_lease(started, stopping):
    rig, ref = started()
    rig.view.wait_for(rig.append(10), DEADLINE)
    assert stop_and_wait(ref, DEADLINE)
    assert rig.stored == 10
    assert rig.bell.listeners == ()
    assert rig.post.thread is None
    assert rig.store.acquire_lease(KEY, "another", 1).owner == "another"


def test_when_stopped_while_the_store_is_down_it_ends_all_the_same(started, logs):
    class Down(MemoryStore):
        down = False

        def release_lease(self, name, owner):
            if self.down:
                raise StoreUnavailable("made to fail")
            super().release_lease(name, owner)

    rig, ref = started(store=Down())
    rig.store.down = True
    assert stop_and_wait(ref, DEADLINE)
    assert "consumer_not_released" in [one["event"] for one in logs]


def test_one_that_ends_after_its_successor_came_leaves_that_one_alone(started):
    rig, ref = started()
    rig.post.thread = -1  # its successor's
    assert stop_and_wait(ref, DEADLINE)
    assert rig.post.thread == -1


class Killed(BaseException):
    pass


def kill(_consumer):
    raise Killed


def test_when_it_fails_while_the_store_is_down_that_is_logged(started, logs):
    def release(name, owner):
        raise StoreUnavailable("made to fail")

    rig, ref = started()
    rig.store.release_lease = release
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(Call(kill), timeout=DEADLINE)
    eventually(lambda: "consumer_not_released" in [one["event"] for one in logs])


def test_when_it_fails_it_listens_no_more_and_lets_go(started):
    rig, ref = started()
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(Call(kill), timeout=DEADLINE)
    eventually(lambda: not ref.is_alive())
    eventually(lambda: rig.bell.listeners == ())
    assert rig.post.thread is None


def test_what_goes_wrong_is_logged_once(started, logs):
    rig, _ = started(retries=1, first_retry=0.01, on_failure="park")
    rig.hook = lambda event: 1 / (event.position - 5)
    assert rig.view.wait_for(rig.append(10), DEADLINE)
    eventually(lambda: rig.view.parked)
    eventually(lambda: "event_parked" in [one["event"] for one in logs])
    events = [one["event"] for one in logs]
    assert events.count("event_parked") == events.count("consumer_retries") == 1


def test_a_consumer_that_stops_is_logged_with_its_error(started, logs):
    rig, _ = started(retries=0)
    rig.hook = lambda event: 1 / 0
    rig.append()
    eventually(lambda: rig.view.status is Status.STOPPED)
    found = eventually(lambda: [one for one in logs if one["event"] == "consumer_stopped"])
    assert found[0]["consumer"] == KEY


# Registry and supervisor.


@pytest.fixture
def registry(stopping):
    registry = Registry()
    stopping(ProjectionSupervisor.start(registry))
    eventually(lambda: registry.supervisor)
    return registry


def children(registry):
    return registry.supervisor.proxy().children().get(timeout=DEADLINE)


def test_what_is_added_runs_and_what_is_removed_has_ended(registry):
    rig = Rig()
    registry.add(rig.spec, rig.view)
    assert rig.view.wait_for(rig.append(), DEADLINE)
    ref = rig.post.ref
    registry.remove(KEY)
    assert not ref.is_alive()
    assert rig.view.status is Status.ENDED
    assert children(registry) == registry.specs() == []


def test_two_of_one_name_are_refused(registry):
    rig, other = Rig(), Rig()
    registry.add(rig.spec, rig.view)
    with pytest.raises(ValueError, match=f"there is a {KEY} already; names are unique"):
        registry.add(other.spec, other.view)
    assert len(rig.lives) == 1
    assert other.lives == []


def test_removing_what_is_not_there_is_harmless(registry):
    registry.remove("nothing")


def test_what_was_removed_may_be_added_again(registry):
    rig = Rig()
    registry.add(rig.spec, rig.view)
    assert rig.view.wait_for(rig.append(5), DEADLINE)
    registry.remove(KEY)
    rig.append(5)
    again = Rig(store=rig.store)
    registry.add(again.spec, again.view)
    assert again.view.wait_for(10, DEADLINE)
    assert again.got == [6, 7, 8, 9, 10]


def test_what_is_added_while_the_supervisor_waits_for_one_that_hangs_runs_a_little_later(
    registry, monkeypatch
):
    monkeypatch.setattr("eskernel.actors.consuming.registry._ANSWER_WITHIN", 0.05)
    hanging, rig = Rig(), Rig()
    inside, gate = threading.Event(), threading.Event()

    def hang(_event):
        inside.set()
        gate.wait(DEADLINE)

    hanging.hook = hang
    hanging.append()
    registry.add(hanging.spec, hanging.view)
    assert inside.wait(DEADLINE)
    with pytest.raises(pykka.Timeout):
        registry.remove(KEY)
    other = ChildSpec("subscription/other", rig.spec.start)
    registry.add(other, rig.view)
    assert rig.lives == []
    gate.set()
    assert rig.view.wait_for(rig.append(), DEADLINE)
    assert [child.name for child in children(registry)] == [other.name]
    registry.remove(other.name)
    eventually(lambda: rig.post.thread is None)


def test_what_is_added_before_the_supervisor_starts_runs_when_it_does(stopping):
    registry, rig = Registry(), Rig()
    registry.add(rig.spec, rig.view)
    stopping(ProjectionSupervisor.start(registry))
    assert rig.view.wait_for(rig.append(), DEADLINE)


def test_a_child_that_is_killed_is_restarted_and_goes_on(registry):
    rig = Rig()
    registry.add(rig.spec, rig.view)
    assert rig.view.wait_for(rig.append(5), DEADLINE)
    for number in range(1, 4):
        ref = rig.post.ref
        with pytest.raises(pykka.ActorDeadError):
            ref.ask(Call(kill), timeout=DEADLINE)
        eventually(lambda ref=ref: rig.post.ref is not ref)
        assert rig.view.wait_for(rig.append(), DEADLINE)
        eventually(lambda number=number: children(registry)[0].restarts == number)
    assert rig.got == list(range(1, 9))


def test_a_child_killed_by_its_callback_repeats_one_page_at_most(registry):
    rig = Rig()
    registry.add(rig.spec, rig.view)
    assert rig.view.wait_for(rig.append(5), DEADLINE)

    def die(event):
        if len(rig.lives) == 1:
            raise Killed

    rig.hook = die
    assert rig.view.wait_for(rig.append(3), DEADLINE)
    assert rig.got == [1, 2, 3, 4, 5, 6, 6, 7, 8]


def test_a_supervisor_that_is_restarted_runs_all_that_is_registered(stopping):
    registry, rigs = Registry(), [Rig() for _ in range(3)]
    first = ProjectionSupervisor.start(registry)
    for number, rig in enumerate(rigs):
        spec = ChildSpec(f"{KEY}{number}", rig.spec.start)
        registry.add(spec, rig.view)
        assert rig.view.wait_for(rig.append(), DEADLINE)
    assert stop_and_wait(first, DEADLINE)
    registry.remove(f"{KEY}1")  # nobody is there to be asked
    stopping(ProjectionSupervisor.start(registry))
    for rig in (rigs[0], rigs[2]):
        assert rig.view.wait_for(rig.append(), DEADLINE)
    assert rigs[1].view.status is Status.ENDED
    assert [one.name for one in children(registry)] == [f"{KEY}0", f"{KEY}2"]


def test_adding_and_removing_race_with_restarts_of_the_supervisor(stopping):
    registry = Registry()
    supervisors = [ProjectionSupervisor.start(registry)]
    rigs = [Rig() for _ in range(20)]

    def restart():
        for _ in range(10):
            assert stop_and_wait(supervisors[-1], DEADLINE)
            supervisors.append(ProjectionSupervisor.start(registry))

    def add_and_remove(some):
        for number in some:
            registry.add(ChildSpec(f"{KEY}{number}", rigs[number].spec.start), rigs[number].view)
            if number % 2:
                registry.remove(f"{KEY}{number}")

    run_threads(
        restart,
        lambda: add_and_remove(range(10)),
        lambda: add_and_remove(range(10, 20)),
        timeout=60,
    )
    stopping(supervisors[-1])
    wanted = {f"{KEY}{number}" for number in range(0, 20, 2)}
    assert {one.name for one in registry.specs()} == wanted
    eventually(lambda: {one.name for one in children(registry) if one.ref} == wanted)
    for number, rig in enumerate(rigs):
        if number % 2:
            assert rig.view.status is Status.ENDED
        else:
            assert rig.view.wait_for(rig.append(), DEADLINE)


def test_at_the_end_everybody_who_waits_is_told(registry):
    rig, closed = Rig(), []
    registry.add(rig.spec, rig.view)
    registry.on_end("kept", lambda: closed.append("kept"))
    registry.on_end("forgotten", lambda: closed.append("forgotten"))
    registry.forget("forgotten")
    registry.forget("never known")
    waiting = threading.Thread(target=lambda: closed.append(rig.view.wait_for(99, 20)), daemon=True)
    waiting.start()
    registry.end()
    waiting.join(DEADLINE)
    assert sorted(map(str, closed)) == ["False", "kept"]
    assert rig.view.status is Status.ENDED
