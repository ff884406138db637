import random
import threading
import time

import pykka
import pytest
import structlog
from support import eventually, new_seed, run_threads

from eskernel.actors.supervision import SupervisedActor, stop_and_wait, watch

DEADLINE = 5
BASE_EXCEPTIONS = [SystemExit, KeyboardInterrupt, GeneratorExit]


class Worker(SupervisedActor):
    """Does what it is told; records its hooks."""

    def __init__(self):
        super().__init__()
        self.log = []

    def on_start(self):
        self.thread = threading.current_thread()

    def on_receive(self, message):
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return message()
        self.log.append(message)
        return message

    def on_stop(self):
        self.log.append("stopped")

    def on_failure(self, exception_type, exception_value, traceback):
        self.log.append(("failed", exception_type, exception_value))


class Plain(pykka.ThreadingActor):
    """A host's own actor."""

    use_daemon_thread = True

    def on_receive(self, message):
        return message() if callable(message) else message


@pytest.fixture(autouse=True)
def _logs():
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def plain():
    ref = Plain.start()
    yield ref
    ref.stop(timeout=DEADLINE)


def exits_of(ref):
    exits = []
    watch(ref, exits.append)
    return exits


def kill(ref, error):
    """Let the actor fail by a message nobody waits for, and return its exit."""
    exits = exits_of(ref)
    ref.tell(error)
    return eventually(lambda: exits)[0]


def test_its_thread_is_a_daemon():
    ref = Worker.start()
    assert ref.proxy().thread.get().daemon
    ref.stop(timeout=DEADLINE)


def test_an_ask_is_answered():
    ref = Worker.start()
    assert ref.ask(7, timeout=DEADLINE) == 7
    assert ref.proxy().log.get(timeout=DEADLINE) == [7]
    ref.stop(timeout=DEADLINE)


@pytest.mark.parametrize("end", ["stop", "failing tell", "base exception"])
def test_every_ask_is_answered_while_the_actor_ends(end):
    seed = new_seed()
    rng = random.Random(seed)
    for _ in range(100):
        ref = Worker.start()
        outcomes = []

        def ask(ref=ref, outcomes=outcomes):
            for number in range(20):
                try:
                    outcomes.append(ref.ask(number, timeout=DEADLINE) == number)
                except pykka.ActorDeadError:
                    outcomes.append(True)

        def finish(ref=ref):
            time.sleep(rng.random() * 0.002)  # somewhere among the asks
            if end == "stop":
                assert ref.stop(timeout=DEADLINE)
            else:
                ref.tell(ValueError("end") if end == "failing tell" else SystemExit())

        run_threads(*[ask] * 4, finish)
        assert outcomes == [True] * 80
        eventually(lambda ref=ref: not ref.is_alive())


def test_a_question_that_slips_in_behind_the_last_look_is_refused():
    ref = Worker.start()
    inbox = ref.actor_inbox
    assert stop_and_wait(ref, DEADLINE)
    future = pykka.ThreadingFuture()
    inbox.put(pykka._envelope.Envelope("late", reply_to=future))
    with pytest.raises(pykka.ActorDeadError):
        future.get(timeout=0)


def test_a_failing_start_is_an_exit_with_its_reason():
    class Unable(Worker):
        def on_start(self):
            raise error

    error = ValueError("cannot start")
    ref = Unable.start()
    exits = exits_of(ref)
    assert eventually(lambda: exits)[0] == (ref, error)
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anyone?", timeout=DEADLINE)


@pytest.mark.parametrize("kind", [ValueError, *BASE_EXCEPTIONS])
def test_a_failing_tell_runs_on_failure_and_ends_the_actor_with_its_reason(kind):
    actors = []

    class Known(Worker):
        def on_start(self):
            actors.append(self)

    error = kind("no")
    ref = Known.start()
    ended = kill(ref, error)
    assert ended.ref is ref
    assert ended.reason is error
    assert actors[0].log == [("failed", kind, error)]
    assert not ref.is_alive()


def test_a_failing_ask_goes_to_the_caller_and_the_actor_lives():
    ref = Worker.start()
    error = ValueError("no")
    with pytest.raises(ValueError, match="no") as caught:
        ref.ask(error, timeout=DEADLINE)
    assert caught.value is error
    assert ref.ask(1, timeout=DEADLINE) == 1
    ref.stop(timeout=DEADLINE)


@pytest.mark.parametrize("kind", BASE_EXCEPTIONS)
@pytest.mark.parametrize("way", ["tell", "ask"])
def test_a_base_exception_ends_this_actor_alone(plain, kind, way):
    bystander, ref = Worker.start(), Worker.start()
    exits = exits_of(ref)
    error = kind()
    if way == "tell":
        ref.tell(error)
    else:
        with pytest.raises(pykka.ActorDeadError, match=kind.__name__):
            ref.ask(error, timeout=DEADLINE)
    assert eventually(lambda: exits)[0].reason is error
    assert plain.ask("alive?", timeout=DEADLINE) == "alive?"
    assert bystander.ask("alive?", timeout=DEADLINE) == "alive?"
    bystander.stop(timeout=DEADLINE)


@pytest.mark.parametrize("asker_class", [Plain, Worker])
def test_a_base_exception_in_an_ask_does_not_end_the_actor_that_asks(asker_class):
    asker, ref = asker_class.start(), Worker.start()
    with pytest.raises(pykka.ActorDeadError):
        asker.ask(lambda: ref.ask(SystemExit(), timeout=DEADLINE), timeout=DEADLINE)
    assert asker.ask(1, timeout=DEADLINE) == 1
    asker.stop(timeout=DEADLINE)


def test_each_watcher_is_called_once_whenever_it_began_to_watch():
    ref = Worker.start()
    early = [exits_of(ref) for _ in range(3)]
    assert ref.stop(timeout=DEADLINE)
    late = exits_of(ref)
    expected = [(ref, None)]
    assert all(eventually(lambda exits=exits: exits) == expected for exits in early)
    assert late == expected
    assert not ref.stop(timeout=DEADLINE)
    assert [*early, late] == [expected] * 4


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_raising_watcher_silences_neither_the_others_nor_the_answers(kind):
    ref = Worker.start()

    def raise_it(_exit):
        raise kind

    release = threading.Event()
    ref.tell(release.wait)
    before, _, after = exits_of(ref), watch(ref, raise_it), exits_of(ref)
    stopping = ref.stop(block=False)
    question = ref.ask("behind the stop", block=False)
    release.set()
    assert stopping.get(timeout=DEADLINE) is True
    with pytest.raises(pykka.ActorDeadError):
        question.get(timeout=DEADLINE)
    assert before == after == [(ref, None)]


def test_watchers_hear_of_the_end_after_the_last_hook_and_when_it_is_over():
    seen = []

    class Slow(Worker):
        def on_stop(self):
            seen.append(("hook", self.actor_ref.is_alive()))

    ref = Slow.start()
    watch(ref, lambda ended: seen.append(("watcher", ended.ref.is_alive())))
    assert ref.stop(timeout=DEADLINE)
    assert seen == [("hook", True), ("watcher", False)]


def test_stop_returns_whether_there_was_something_to_stop():
    ref = Worker.start()
    first, second = ref.stop(block=False), ref.stop(block=False)
    assert first.get(timeout=DEADLINE) is True
    eventually(lambda: not ref.is_alive())
    second.get(timeout=DEADLINE)
    assert ref.stop(timeout=DEADLINE) is False


def test_every_stop_request_before_the_end_is_answered_with_true():
    ref, release = Worker.start(), threading.Event()
    ref.tell(release.wait)
    requests = [ref.stop(block=False) for _ in range(5)]
    release.set()
    assert [request.get(timeout=DEADLINE) for request in requests] == [True] * 5


def test_messages_before_a_stop_are_handled_and_those_behind_it_refused():
    ref, release, log = Worker.start(), threading.Event(), []
    ref.tell(release.wait)
    before = [ref.ask(lambda number=number: log.append(number), block=False) for number in range(9)]
    stopping = ref.stop(block=False)
    behind = [ref.ask("too late", block=False) for _ in range(9)]
    ref.tell("too late as well")
    release.set()
    assert stopping.get(timeout=DEADLINE)
    assert [future.get(timeout=DEADLINE) for future in before] == [None] * 9
    assert log == list(range(9))
    for future in behind:
        with pytest.raises(pykka.ActorDeadError, match="before handling"):
            future.get(timeout=DEADLINE)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("much too late")


def test_messages_behind_a_failure_are_refused():
    ref, release = Worker.start(), threading.Event()
    ref.tell(release.wait)
    ref.tell(ValueError("fails"))
    question, stopping = ref.ask("anyone?", block=False), ref.stop(block=False)
    release.set()
    with pytest.raises(pykka.ActorDeadError):
        question.get(timeout=DEADLINE)
    assert stopping.get(timeout=DEADLINE) is True


@pytest.mark.parametrize("error", [None, ValueError("no"), SystemExit()])
def test_the_registry_no_longer_lists_an_ended_actor(error):
    ref = Worker.start()
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is ref
    if error is None:
        assert stop_and_wait(ref, DEADLINE)
    else:
        kill(ref, error)
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None
    assert ref not in pykka.ActorRegistry.get_all()


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
@pytest.mark.parametrize("hook", ["on_stop", "on_failure"])
def test_an_actor_whose_last_hook_fails_ends_and_notifies_all_the_same(hook, kind):
    def fail(*_args):
        raise kind("in the hook")

    ref = type("Failing", (Worker,), {hook: fail}).start()
    reason = ValueError("no") if hook == "on_failure" else None
    exits = exits_of(ref)
    with structlog.testing.capture_logs() as logs:
        if reason is None:
            assert ref.stop(timeout=DEADLINE)
        else:
            ref.tell(reason)
        assert eventually(lambda: exits) == [(ref, reason)]
    assert "actor_hook_failed" in [entry["event"] for entry in logs]
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None


def test_a_failing_logger_neither_hinders_the_hook_nor_the_end(monkeypatch):
    class Broken:
        def error(self, *_args, **_kwargs):
            raise OSError("broken pipe")

    monkeypatch.setattr("eskernel.actors.journal.log", Broken())
    called = []

    class Known(Worker):
        def on_failure(self, *_exc_info):
            called.append(True)

    ref = Known.start()
    assert kill(ref, ValueError("no")).ref is ref
    assert called == [True]


def test_an_actor_without_a_thread_has_ended(monkeypatch):
    created = []

    class Known(Worker):
        def __init__(self):
            super().__init__()
            created.append(self)

    def start(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(threading.Thread, "start", start)
        Known.start()
    ref = created[0].actor_ref
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None
    assert isinstance(exits_of(ref)[0].reason, RuntimeError)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anyone?", timeout=DEADLINE)


class Alarm(Worker):
    """Wakes itself up."""

    def __init__(self, *delays):
        super().__init__()
        self.delays = list(delays)
        self.woken = []
        self.rang = threading.Event()

    def on_start(self):
        self.set_next()

    def set_next(self):
        if self.delays:
            self.wake_at = time.monotonic() + self.delays.pop(0)
            self.log.append(self.wake_at)

    def on_wake(self):
        assert self.wake_at is None
        self.woken.append(time.monotonic())
        self.set_next()
        if self.wake_at is None:
            self.rang.set()


def test_an_actor_wakes_when_it_wanted_to_and_only_then():
    ref = Alarm.start(0.02, 0.0, 0.03)
    proxy = ref.proxy()
    assert proxy.rang.get().wait(DEADLINE)
    due, woken = proxy.log.get(), proxy.woken.get()
    assert len(woken) == 3
    assert all(at >= when for at, when in zip(woken, due, strict=True))
    assert proxy.wake_at.get() is None
    ref.stop(timeout=DEADLINE)
    assert len(woken) == 3


def test_an_actor_that_does_not_want_to_wake_does_not():
    ref = Alarm.start()
    assert ref.ask(1, timeout=DEADLINE) == 1
    assert ref.proxy().woken.get(timeout=DEADLINE) == []
    ref.stop(timeout=DEADLINE)


def test_a_flood_of_messages_does_not_keep_an_actor_from_waking():
    ref = Alarm.start(0.01)
    rang = ref.proxy().rang.get()

    def flood():
        if not rang.is_set():
            ref.tell(flood)  # there is always one more message

    flood()
    assert rang.wait(DEADLINE)
    ref.stop(timeout=DEADLINE)


def test_a_flood_of_wakes_does_not_keep_messages_waiting():
    ref = Alarm.start(*[0.0] * 1_000_000)
    assert ref.ask(1, timeout=DEADLINE) == 1
    assert ref.stop(timeout=DEADLINE)


def test_a_failing_wake_ends_the_actor():
    class Sleepy(Worker):
        def on_start(self):
            self.wake_at = time.monotonic()

        def on_wake(self):
            raise error

    error = ValueError("too early")
    exits = exits_of(Sleepy.start())
    assert eventually(lambda: exits)[0].reason is error


def test_stop_and_wait_returns_whether_the_actor_ended_in_time():
    ref, release = Worker.start(), threading.Event()
    ref.tell(release.wait)
    assert not stop_and_wait(ref, 0.01)
    release.set()
    assert stop_and_wait(ref, DEADLINE)
    assert stop_and_wait(ref, 0)
