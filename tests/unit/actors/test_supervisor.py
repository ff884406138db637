import threading
import time
from functools import partial

import pykka
import pytest
import structlog
from support import eventually

from eskernel.actors.supervision import (
    Backoff,
    ChildSpec,
    Exit,
    Restart,
    RestartLimitExceeded,
    Strategy,
    SupervisedActor,
    Supervisor,
    stop_and_wait,
    watch,
)

DEADLINE = 5
AT_ONCE = Backoff(first=0.0, longest=0.0)
NEVER = Backoff(first=3600, longest=3600)
ENDS = {
    "stop": lambda ref: ref.stop(block=False),
    "failing tell": lambda ref: ref.tell(ValueError("no")),
    "base exception": lambda ref: ref.tell(SystemExit()),
}


class Child(SupervisedActor):
    """Writes its starts and ends into a diary."""

    def __init__(self, diary, name):
        super().__init__()
        self.diary, self.name = diary, name

    def on_start(self):
        self.diary.append(f"+{self.name}")

    def on_receive(self, message):
        if isinstance(message, BaseException):
            raise message
        return message() if callable(message) else message

    def on_stop(self):
        self.diary.append(f"-{self.name}")

    def on_failure(self, *_exc_info):
        self.diary.append(f"!{self.name}")


class Fragile(Supervisor):
    """Fails when told an error."""

    def on_receive(self, message):
        if isinstance(message, BaseException):
            raise message
        return super().on_receive(message)


class Family:
    """A supervisor under test, with the diary of its children."""

    def __init__(self, names="abc", restart=Restart.PERMANENT, kind=Supervisor, **options):
        self.diary = []
        specs = [self.spec(name, restart) for name in names]
        self.ref = kind.start(specs, **({"backoff": AT_ONCE} | options))
        self.exits = []
        watch(self.ref, self.exits.append)

    def spec(self, name, restart=Restart.PERMANENT, **options):
        """Return a spec whose child is up when `start` returns."""
        return ChildSpec(name, partial(self.start_child, name), restart, **options)

    def start_child(self, name):
        ref = Child.start(self.diary, name)
        ref.ask("up?", timeout=DEADLINE)
        return ref

    def call(self, name, *args):
        return getattr(self.ref.proxy(), name)(*args).get(timeout=DEADLINE)

    def info(self):
        return {child.name: child for child in self.call("children")}

    def child(self, name):
        return self.info()[name].ref

    def end(self, name, way="failing tell"):
        """Have a child end, and wait until its supervisor has heard of it."""
        ref = self.child(name)
        ENDS[way](ref)
        eventually(lambda: not ref.is_alive())
        eventually(lambda: name not in (info := self.info()) or info[name].ref is not ref)

    def stop(self):
        return self.ref.stop(timeout=DEADLINE)


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture(autouse=True)
def _no_actor_is_left():
    yield
    left = pykka.ActorRegistry.get_all()
    pykka.ActorRegistry.stop_all(block=False)
    eventually(lambda: not any(ref.is_alive() for ref in left))


# Start and shutdown.


def test_children_start_in_order_and_end_in_reverse():
    family = Family("abcd")
    assert list(family.info()) == list("abcd")
    assert family.stop()
    assert family.diary == ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"]


def test_a_child_stuck_in_a_message_is_left_behind_after_its_deadline_and_the_log_says_so(logs):
    family = Family("a")
    release = threading.Event()
    family.call("start_child", family.spec("stuck", shutdown=0.05))
    family.call("start_child", family.spec("c"))
    stuck = family.child("stuck")
    stuck.tell(lambda: release.wait(DEADLINE))
    before = time.monotonic()
    assert family.stop()
    assert time.monotonic() - before < DEADLINE / 2
    assert family.diary == ["+a", "+stuck", "+c", "-c", "-a"]
    outlived = [entry for entry in logs if entry["event"] == "child_outlived_shutdown"]
    assert [(entry["child"], entry["seconds"]) for entry in outlived] == [("stuck", 0.05)]
    release.set()
    eventually(lambda: not stuck.is_alive())


def test_each_stuck_child_costs_no_more_than_its_own_deadline():
    family = Family("")
    release = threading.Event()
    for name in "xyz":
        family.call("start_child", family.spec(name, shutdown=0.05))
        family.child(name).tell(lambda: release.wait(DEADLINE))
    before = time.monotonic()
    assert family.stop()
    assert 0.12 < time.monotonic() - before < DEADLINE / 2
    release.set()


@pytest.mark.parametrize("way", ENDS)
def test_however_a_supervisor_ends_its_children_end_first(way):
    family = Family("abc", kind=Fragile)
    children = [info.ref for info in family.info().values()]
    ENDS[way](family.ref)
    ended = eventually(lambda: family.exits)[0]
    assert (ended.reason is None) == (way == "stop")
    assert not any(ref.is_alive() for ref in children)
    assert family.diary[-3:] == ["-c", "-b", "-a"]


# Which exits are answered with a restart.


@pytest.mark.parametrize(
    ("restart", "way", "restarted"),
    [
        (Restart.PERMANENT, "stop", True),
        (Restart.PERMANENT, "failing tell", True),
        (Restart.PERMANENT, "base exception", True),
        (Restart.TRANSIENT, "stop", False),
        (Restart.TRANSIENT, "failing tell", True),
        (Restart.TRANSIENT, "base exception", True),
        (Restart.TEMPORARY, "stop", False),
        (Restart.TEMPORARY, "failing tell", False),
        (Restart.TEMPORARY, "base exception", False),
    ],
)
def test_the_kind_of_child_decides_which_exits_are_answered_with_a_restart(restart, way, restarted):
    family = Family("a", restart)
    before = family.child("a")
    family.end("a", way)
    if restarted:
        eventually(lambda: family.child("a"))
        assert family.child("a") is not before
        assert family.info()["a"].restarts == 1
        assert family.diary.count("+a") == 2
    else:
        assert family.diary.count("+a") == 1
        assert ("a" in family.info()) == (restart is not Restart.TEMPORARY)
        if restart is Restart.TRANSIENT:
            assert family.info()["a"] == ("a", None, 0)
    assert family.stop()


# Strategies.


def restarted_along(strategy, name, restart=Restart.PERMANENT):
    family = Family("abcd", restart, strategy=strategy)
    before = family.info()
    del family.diary[:]
    family.end(name)
    eventually(lambda: all(info.ref for info in family.info().values()))
    after = family.info()
    family.replaced = {one for one in after if after[one].ref is not before[one].ref}
    return family


def test_one_for_one_restarts_the_one_alone():
    family = restarted_along(Strategy.ONE_FOR_ONE, "b")
    assert family.replaced == {"b"}
    assert family.diary == ["!b", "+b"]
    assert family.stop()


def test_rest_for_one_restarts_those_started_after_it_too():
    family = restarted_along(Strategy.REST_FOR_ONE, "b")
    assert family.replaced == {"b", "c", "d"}
    assert family.diary == ["!b", "-d", "-c", "+b", "+c", "+d"]
    assert [info.restarts for info in family.info().values()] == [0, 1, 0, 0]
    assert family.stop()


def test_rest_for_one_leaves_the_others_alone_when_the_last_ends():
    family = restarted_along(Strategy.REST_FOR_ONE, "d")
    assert family.replaced == {"d"}
    assert family.stop()


def test_one_for_all_restarts_all_of_them_in_order():
    family = restarted_along(Strategy.ONE_FOR_ALL, "c")
    assert family.replaced == {"a", "b", "c", "d"}
    assert family.diary == ["!c", "-d", "-b", "-a", "+a", "+b", "+c", "+d"]
    assert list(family.info()) == list("abcd")
    assert family.stop()


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
def test_a_temporary_child_stopped_along_does_not_come_back(strategy):
    family = Family("a", strategy=strategy)
    family.call("start_child", family.spec("passing", Restart.TEMPORARY))
    family.call("start_child", family.spec("c"))
    del family.diary[:]
    family.end("a")
    eventually(lambda: family.child("c"))
    assert list(family.info()) == ["a", "c"]
    assert family.diary == ["!a", "-c", "-passing", "+a", "+c"]
    assert family.stop()


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
def test_children_stopped_along_count_as_one_restart(strategy):
    family = Family("abcd", strategy=strategy, intensity=2, period=3600)
    for _ in range(2):
        family.end("a")
        eventually(lambda: all(info.ref for info in family.info().values()))
    assert not family.exits
    assert family.stop()


@pytest.mark.parametrize("strategy", list(Strategy))
def test_those_after_a_child_that_cannot_start_wait_for_it_unless_they_stand_alone(strategy):
    family, tries = Family(""), []

    def second_time():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        return family.start_child("b")

    specs = [family.spec("a"), ChildSpec("b", second_time), family.spec("c")]
    ref = Supervisor.start(specs, strategy=strategy, backoff=AT_ONCE)
    children = ref.proxy().children
    eventually(lambda: all(child.ref for child in children().get(timeout=DEADLINE)))
    assert (
        family.diary
        == {
            Strategy.ONE_FOR_ONE: ["+a", "+c", "+b"],
            Strategy.REST_FOR_ONE: ["+a", "+b", "+c"],
            Strategy.ONE_FOR_ALL: ["+a", "-a", "+a", "+b", "+c"],
        }[strategy]
    )
    assert ref.stop(timeout=DEADLINE)
    assert family.stop()


# Intensity and escalation.


def test_one_restart_too_many_ends_the_supervisor_and_its_other_children():
    family = Family("ab", intensity=2, period=3600)
    for _ in range(2):
        family.end("a")
        eventually(lambda: family.child("a"))
    other = family.child("b")
    family.child("a").tell(error := ValueError("the last"))
    reason = eventually(lambda: family.exits)[0].reason
    assert isinstance(reason, RestartLimitExceeded)
    assert reason.child == "a"
    assert reason.reason is error
    assert "'a' ended again after 2 restarts in 3600 seconds" in str(reason)
    assert not other.is_alive()
    assert not family.ref.is_alive()


def test_the_restarts_of_all_children_count_together():
    family = Family("abc", intensity=2, period=3600)
    for name in "ab":
        family.end(name)
        eventually(lambda name=name: family.child(name))
    family.child("c").tell(ValueError("the third"))
    assert eventually(lambda: family.exits)[0].reason.child == "c"


def test_an_intensity_of_zero_allows_no_restart():
    family = Family("a", intensity=0)
    family.child("a").tell(ValueError("the first"))
    assert isinstance(eventually(lambda: family.exits)[0].reason, RestartLimitExceeded)
    assert family.diary == ["+a", "!a"]


def test_restarts_longer_ago_than_the_period_are_forgotten():
    family = Family("a", intensity=1, period=0.02)
    for _ in range(4):
        family.end("a")
        eventually(lambda: family.child("a"))
        past = time.monotonic() + 0.02
        eventually(lambda past=past: time.monotonic() > past)
    assert not family.exits
    assert family.info()["a"].restarts == 4
    assert family.stop()


def nested(family, depth, **options):
    """Return the start of so many supervisors one within the other, with child `a` at the end."""
    if depth == 0:
        return partial(family.start_child, "a")
    spec = ChildSpec(f"level {depth}", nested(family, depth - 1, **options))
    return partial(Supervisor.start, [spec], **({"backoff": AT_ONCE} | options))


def innermost(ref):
    """Return child `a` below, or None while one is missing on the way."""
    while ref is not None and issubclass(ref.actor_class, Supervisor):
        try:
            infos = ref.proxy().children().get(timeout=DEADLINE)
        except pykka.ActorDeadError:
            return None
        ref = infos[0].ref if infos else None
    return ref if ref is not None and ref.is_alive() else None


def test_a_supervisor_that_gives_up_is_restarted_by_its_own_with_fresh_counters():
    family = Family("")
    spec = ChildSpec("inner", nested(family, 1, intensity=1, period=3600))
    family.call("start_child", spec)
    inner = family.child("inner")
    for _ in range(2):
        child = eventually(lambda: innermost(family.ref))
        child.tell(ValueError("no"))
        eventually(lambda child=child: not child.is_alive())
    eventually(lambda: family.child("inner") not in (None, inner))
    assert eventually(lambda: innermost(family.ref))
    assert family.info()["inner"].restarts == 1
    assert not inner.is_alive()
    assert not family.exits
    assert family.stop()


def test_failure_climbs_level_by_level_to_the_root():
    family = Family("")
    ref = nested(family, 3, intensity=1, period=3600)()
    exits = []
    watch(ref, exits.append)
    kills = 0
    while not exits:
        child = eventually(lambda: exits or innermost(ref))
        if child is not exits:
            child.tell(ValueError("no"))
            kills += 1
            eventually(lambda child=child: not child.is_alive())
    reason = exits[0].reason
    levels = []
    while isinstance(reason, RestartLimitExceeded):
        levels.append(reason.child)
        reason = reason.reason
    assert levels == ["level 3", "level 2", "level 1"]
    assert isinstance(reason, ValueError)
    assert kills == 2**3
    assert not [one for one in pykka.ActorRegistry.get_all() if issubclass(one.actor_class, Child)]
    assert family.stop()


# Backoff.


def test_delays_grow_with_the_restarts_within_the_period(monkeypatch):
    asked = []

    def delay(_self, attempt, _rng):
        asked.append(attempt)
        return 0.0

    monkeypatch.setattr(Backoff, "delay", delay)
    family = Family("ab", intensity=5, period=3600)
    for name in "abaab":
        family.end(name)
        eventually(lambda name=name: family.child(name))
    assert asked == [1, 2, 3, 4, 5]
    assert family.stop()


def test_a_restart_comes_after_its_delay_and_not_before():
    family = Family("a", backoff=Backoff(first=0.05, longest=0.05, jitter=0))
    times = []
    watch(family.child("a"), lambda _exit: times.append(time.monotonic()))
    family.end("a")
    eventually(lambda: family.child("a"))
    assert time.monotonic() - times[0] >= 0.05
    assert family.stop()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_seed_decides_the_jitter(monkeypatch, seed):
    planned = []
    original = Backoff.delay

    def delay(self, attempt, rng):
        planned.append(original(self, attempt, rng))
        return 0.0

    monkeypatch.setattr(Backoff, "delay", delay)

    def delays():
        del planned[:]
        family = Family("a", backoff=Backoff(), seed=seed, intensity=4, period=3600)
        for _ in range(4):
            family.end("a")
            eventually(lambda: family.child("a"))
        assert family.stop()
        return list(planned)

    first = delays()
    assert first == delays()
    assert len(set(first)) == 4


def test_a_supervisor_answers_while_a_restart_is_pending():
    family = Family("ab", backoff=NEVER)
    family.end("a")
    assert family.info()["a"] == ("a", None, 1)
    assert family.child("b").ask(1, timeout=DEADLINE) == 1
    assert family.call("start_child", family.spec("c")).ask(2, timeout=DEADLINE) == 2
    assert family.diary == ["+a", "+b", "!a", "+c"]
    assert family.stop()


def test_a_child_whose_restart_is_pending_can_be_stopped_and_stays_away():
    family = Family("ab", backoff=Backoff(first=0.05, longest=0.05, jitter=0))
    family.end("a")
    family.call("stop_child", "a")
    family.end("b")
    eventually(lambda: family.child("b"))
    assert list(family.info()) == ["b"]
    assert family.diary.count("+a") == 1
    assert family.stop()


# Children that cannot start.


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_start_that_raises_counts_as_a_failure_and_is_tried_again(kind):
    family, errors = Family(""), [kind("one"), kind("two")]

    def start():
        if errors:
            raise errors.pop()
        return family.start_child("late")

    assert family.call("start_child", ChildSpec("late", start)) is None
    eventually(lambda: family.child("late"))
    assert family.info()["late"].restarts == 2
    assert family.stop()


def test_a_failing_on_start_is_a_failure_like_any_other():
    family, errors = Family(""), [ValueError("one"), SystemExit()]

    class Late(Child):
        def on_start(self):
            if errors:
                raise errors.pop()
            super().on_start()

    family.call("start_child", ChildSpec("late", lambda: Late.start(family.diary, "late")))
    eventually(lambda: "+late" in family.diary)
    assert family.info()["late"].restarts == 2
    assert family.stop()


def unable():
    raise OSError("never")


def test_a_child_that_never_starts_ends_its_supervisor():
    family = Family("")
    specs = [family.spec("a"), ChildSpec("never", unable)]
    ref = Supervisor.start(specs, intensity=3, backoff=AT_ONCE)
    exits = []
    watch(ref, exits.append)
    reason = eventually(lambda: exits)[0].reason
    assert isinstance(reason, RestartLimitExceeded)
    assert isinstance(reason.reason, OSError)
    assert family.diary == ["+a", "-a"]
    assert family.stop()


def test_a_start_too_many_asked_for_ends_the_supervisor_too():
    family = Family("a", intensity=0)
    assert family.call("start_child", ChildSpec("never", unable)) is None
    assert isinstance(eventually(lambda: family.exits)[0].reason, RestartLimitExceeded)
    assert family.diary == ["+a", "-a"]


def test_a_temporary_child_that_cannot_start_is_forgotten():
    family = Family("", intensity=0)
    assert family.call("start_child", ChildSpec("never", unable, Restart.TEMPORARY)) is None
    assert family.info() == {}
    assert not family.exits
    assert family.stop()


# Asking a supervisor.


def test_children_are_listed_in_start_order_with_their_restarts():
    family = Family("ba")
    family.call("start_child", family.spec("c"))
    family.end("a")
    eventually(lambda: family.child("a"))
    infos = family.call("children")
    assert [(info.name, info.restarts) for info in infos] == [("b", 0), ("a", 1), ("c", 0)]
    assert all(info.ref.is_alive() for info in infos)
    assert family.stop()


def test_two_children_of_one_name_are_refused():
    family = Family("a")
    with pytest.raises(ValueError, match="'a' already"):
        family.call("start_child", family.spec("a"))
    assert family.diary == ["+a"]
    assert family.stop()


def test_two_specs_of_one_name_are_a_failure_to_start():
    family = Family("aa")
    assert isinstance(eventually(lambda: family.exits)[0].reason, ValueError)
    assert family.diary == []


@pytest.mark.parametrize("restart", list(Restart))
def test_a_child_stopped_on_request_is_forgotten_and_its_name_free(restart):
    family = Family("a", restart)
    ref = family.child("a")
    family.call("stop_child", "a")
    assert not ref.is_alive()
    assert family.info() == {}
    assert family.call("start_child", family.spec("a")).is_alive()
    assert family.diary == ["+a", "-a", "+a"]
    assert family.stop()


def test_stopping_a_child_nobody_knows_is_refused():
    family = Family("a")
    with pytest.raises(KeyError):
        family.call("stop_child", "b")
    assert family.child("a").is_alive()
    assert family.stop()


def test_the_exit_of_a_child_replaced_since_is_ignored():
    family = Family("a")
    old = family.child("a")
    family.end("a")
    new = eventually(lambda: family.child("a"))
    family.ref.tell(Exit(old, ValueError("again")))
    family.ref.tell(Exit(Child([], "stranger").actor_ref, None))
    assert family.info()["a"] == ("a", new, 1)
    assert family.stop()


def test_a_child_left_behind_and_ended_later_does_not_count():
    family = Family("")
    release = threading.Event()
    family.call("start_child", family.spec("stuck", shutdown=0.01))
    old = family.child("stuck")
    old.tell(lambda: release.wait(DEADLINE))
    family.call("stop_child", "stuck")
    new = family.call("start_child", family.spec("stuck"))
    release.set()
    eventually(lambda: not old.is_alive())
    assert family.info()["stuck"] == ("stuck", new, 0)
    assert family.stop()


def test_other_messages_are_pykkas():
    family = Family("a")
    assert family.ref.ask("what?", timeout=DEADLINE) is None
    assert family.stop()


def test_a_failing_logger_does_not_keep_children_running(monkeypatch):
    class Broken:
        def error(self, *_args, **_kwargs):
            raise OSError("broken pipe")

        info = error

    monkeypatch.setattr("eskernel.actors.journal.log", Broken())
    family = Family("ab")
    family.end("a")
    child = eventually(lambda: family.child("a"))
    release = threading.Event()
    family.call("start_child", family.spec("stuck", shutdown=0.01))
    family.child("stuck").tell(lambda: release.wait(DEADLINE))
    assert family.stop()
    assert not child.is_alive()
    release.set()


def test_everything_ends_when_a_host_stops_all_actors_of_the_process():
    family = Family("abc", Restart.TEMPORARY)
    pykka.ActorRegistry.stop_all(timeout=DEADLINE)
    assert not family.ref.is_alive()
    assert stop_and_wait(family.ref, DEADLINE)
