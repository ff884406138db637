"""Supervisors under random exits of their children: order, single instances, limits, no orphans."""

from __future__ import annotations

import random
import threading
import time

import pytest
from killing import base_exception, quiet_log
from pykka import ActorDeadError
from support import eventually, new_seed

from eskernel.actors.supervision import (
    Backoff,
    ChildSpec,
    Exit,
    Restart,
    Strategy,
    SupervisedActor,
    Supervisor,
    watch,
)
from eskernel.actors.supervision.supervisor import RestartLimitExceeded

__all__ = ["quiet_log"]

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("quiet_log")]

QUICK = Backoff(first=0.0005, longest=0.002)


class Stage:
    """What the children note about themselves, and what was wrong with it."""

    def __init__(self, strategy):
        self.strategy = strategy
        self.lock = threading.Lock()
        self.alive: dict[int, Child] = {}
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.problems: list[str] = []

    def entered(self, child):
        with self.lock:
            if child.number in self.alive:
                self.problems.append(f"child {child.number} lives twice")
            later = [number for number in self.alive if number > child.number]
            if later and self.strategy is not Strategy.ONE_FOR_ONE and not child.free:
                self.problems.append(f"child {child.number} starts although {later} live")
            self.alive[child.number] = child
            self.starts.append(child.number)

    def left(self, child):
        with self.lock:
            if self.alive.get(child.number) is child:
                del self.alive[child.number]
            self.ends.append(child.number)


class Child(SupervisedActor):
    """Raises the exceptions it is sent."""

    def __init__(self, stage, number, free=False):
        super().__init__()
        self.stage, self.number, self.free = stage, number, free

    def on_start(self):
        self.stage.entered(self)

    def on_receive(self, message):
        raise message

    def on_stop(self):
        self.stage.left(self)

    def on_failure(self, *_):
        self.stage.left(self)


def _kill(rng, ref):
    try:
        match rng.randrange(3):
            case 0:
                ref.stop(block=False)
                return None
            case 1:
                error = ZeroDivisionError("a failing tell")
            case _:
                error = SystemExit("out of its loop")
        ref.tell(error)
        return error
    except ActorDeadError:
        return None


def _supervise(stage, restarts, **options):
    specs = [
        ChildSpec(f"child-{number}", lambda number=number: Child.start(stage, number), restart)
        for number, restart in enumerate(restarts)
    ]
    return Supervisor.start(specs, strategy=stage.strategy, backoff=QUICK, **options)


def _kill_and_wait(rng, child):
    """Return when its supervisor has been told of the end."""
    ended = threading.Event()
    _kill(rng, child.actor_ref)
    watch(child.actor_ref, lambda _exit: ended.set())
    assert ended.wait(5)


def _settle(supervisor):
    """Return when the supervisor has dealt with all exits so far."""
    proxy = supervisor.proxy()

    def settled():
        infos = proxy.children().get(timeout=5)
        if not all(info.ref is None or info.ref.is_alive() for info in infos):
            return False
        return proxy.wake_at.get(timeout=5) is None

    eventually(settled)


def _hear_end(ref):
    ended: list[Exit] = []
    watch(ref, ended.append)
    return ended


@pytest.mark.parametrize("strategy", Strategy)
def test_random_exits_leave_the_tree_whole_and_its_stop_leaves_nobody(strategy):
    rng = random.Random(new_seed())
    for _ in range(12):
        stage = Stage(strategy)
        restarts = [Restart.PERMANENT, *rng.choices(list(Restart), k=rng.randrange(1, 6))]
        supervisor = _supervise(stage, restarts, intensity=10_000, period=60.0)
        ended = _hear_end(supervisor)
        eventually(lambda stage=stage: stage.alive)
        for _ in range(rng.randrange(1, 15)):
            with stage.lock:
                living = list(stage.alive.values())
            victims = rng.sample(living, k=min(len(living), rng.randrange(1, 4)))
            for victim in victims:
                _kill(rng, victim.actor_ref)
            if rng.random() < 0.5:
                time.sleep(rng.random() * 0.003)
            for victim in victims:
                _kill_and_wait(rng, victim)
        _settle(supervisor)
        permanent = {n for n, restart in enumerate(restarts) if restart is Restart.PERMANENT}
        assert permanent <= set(stage.alive)
        names = [info.name for info in supervisor.proxy().children().get(timeout=5)]
        assert names == sorted(names), "children are listed in start order"
        with stage.lock:
            living, before = set(stage.alive), len(stage.ends)
        supervisor.stop()
        assert stage.alive == {}, "orphans"
        last = stage.ends[before:]
        assert sorted(last) == sorted(living)
        assert last == sorted(last, reverse=True), "not in reverse order"
        assert stage.problems == []
        assert [one.reason for one in ended] == [None]


@pytest.mark.parametrize("strategy", Strategy)
def test_a_supervisor_ends_at_the_exit_that_is_one_too_many_and_takes_its_children_along(strategy):
    rng = random.Random(new_seed())
    for _ in range(10):
        stage, intensity = Stage(strategy), rng.randrange(5)
        number = rng.randrange(1, 5)
        supervisor = _supervise(
            stage, [Restart.PERMANENT] * number, intensity=intensity, period=60.0
        )
        ended = _hear_end(supervisor)
        for kill in range(intensity + 1):
            eventually(lambda stage=stage, number=number: len(stage.alive) == number)
            assert ended == [], f"it ended after {kill} of {intensity} restarts"
            _settle(supervisor)
            with stage.lock:
                victim = stage.alive[rng.randrange(number)]
            _kill_and_wait(rng, victim)
        eventually(lambda ended=ended: ended)
        assert isinstance(ended[0].reason, RestartLimitExceeded)
        assert stage.alive == {}, "orphans"
        assert stage.problems == []
        assert not supervisor.is_alive()


@pytest.mark.parametrize("way", ["stop", "failing tell", "base exception", "stop in a storm"])
def test_however_a_supervisor_ends_no_child_outlives_it(way):
    rng = random.Random(new_seed())
    for _ in range(10):
        stage = Stage(rng.choice(list(Strategy)))
        restarts = rng.choices(list(Restart), k=4)
        supervisor = _supervise(stage, restarts, intensity=10_000, period=60.0)
        over = threading.Event()

        def storm(stage=stage, over=over):
            while not over.is_set():
                with stage.lock:
                    living = list(stage.alive.values())
                for child in living:
                    _kill(rng, child.actor_ref)
                time.sleep(0.0005)

        eventually(lambda stage=stage: stage.alive)
        thread = threading.Thread(target=storm, daemon=True)
        ended = _hear_end(supervisor)
        if way.endswith("storm"):
            thread.start()
            time.sleep(rng.random() * 0.01)
        if way == "failing tell":
            supervisor.tell(RestartLimitExceeded("a child", 0, 1.0, None))
        elif way == "base exception":
            base_exception(supervisor)
        else:
            supervisor.stop(block=False)
        eventually(lambda ended=ended: ended)
        over.set()
        if way.endswith("storm"):
            thread.join(5)
        assert stage.alive == {}, "orphans"
        assert stage.problems == []
        assert len(ended) == 1


def test_a_tree_of_supervisors_escalates_and_heals():
    rng = random.Random(new_seed())
    stage = Stage(Strategy.ONE_FOR_ONE)

    def branch(number):
        specs = [
            ChildSpec(f"leaf-{leaf}", lambda leaf=leaf: Child.start(stage, 10 * number + leaf))
            for leaf in range(3)
        ]
        return Supervisor.start(specs, intensity=2, period=60.0, backoff=QUICK)

    root = Supervisor.start(
        [ChildSpec(f"branch-{n}", lambda n=n: branch(n)) for n in range(3)],
        intensity=10_000,
        period=60.0,
        backoff=QUICK,
    )
    everybody = {10 * n + leaf for n in range(3) for leaf in range(3)}
    for _ in range(60):
        with stage.lock:
            living = list(stage.alive.values())
        if living:
            _kill(rng, rng.choice(living).actor_ref)
        time.sleep(rng.random() * 0.004)
    eventually(lambda: set(stage.alive) == everybody)
    restarts = sum(info.restarts for info in root.proxy().children().get(timeout=5))
    assert restarts >= 1, "no branch gave up"
    root.stop()
    assert stage.alive == {}
    assert stage.problems == []
