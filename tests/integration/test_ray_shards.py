"""Shards of a RayKernel without a cluster: what one does for its fronts, and when it is moved."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import remote_domain
from store_helpers import log
from support import eventually

from eskernel import Command
from eskernel.errors import NotOwner, StoreUnavailable

pytest.importorskip("ray", reason="ray has no wheel for this Python")

from eskernel.ray import RayKernel
from eskernel.ray.answers import BUSY, DONE, FAILED, MOVED, MOVING, STRANGE
from eskernel.ray.host import ShardHost
from eskernel.ray.terms import Terms
from eskernel.remote.failures import PLAIN, fields_to_failure
from eskernel.remote.setup import Setup
from eskernel.remote.wire import frame_of, parts_of


def setup_of(url: str, **options: Any) -> Setup:
    return RayKernel({"probe": remote_domain}, url, **options)._setup


class Front:
    """One session with a shard in this process."""

    def __init__(self, shard: ShardHost, terms: Terms, session: bytes = b"front") -> None:
        self.shard = shard
        self.session = session
        self.wire = Setup.unpacked(terms.setup).wire()
        self.opened = shard.open(session, terms.packed())
        self.outcomes: dict[int, Any] = {}
        self._numbers = count(1)
        self._commands: dict[int, Command] = {}

    def pack(self, *commands: Command) -> tuple[list[int], bytes]:
        numbers = [next(self._numbers) for _ in commands]
        self._commands.update(zip(numbers, commands, strict=True))
        parts = [self.wire.pack_command(*one) for one in zip(numbers, commands, strict=True)]
        return numbers, frame_of(parts)

    def send(self, *commands: Command) -> list[int]:
        numbers, frame = self.pack(*commands)
        self.hear(self.shard.frame(self.session, frame))
        return numbers

    def poll(self) -> bytes:
        return self.hear(self.shard.poll(self.session))

    def hear(self, answer: bytes) -> bytes:
        if answer[:1] == DONE:
            for reply in parts_of(answer[1:]):
                stream_id = self._commands[reply[0]][:2]
                self.outcomes[reply[0]] = self.wire.outcome_of(reply, stream_id)
        return answer[:1]

    def outcome(self, *commands: Command) -> list[Any]:
        numbers = self.send(*commands)
        eventually(lambda: self.poll() and all(one in self.outcomes for one in numbers))
        return [self.outcomes[one] for one in numbers]


@pytest.fixture
def open_shard(monkeypatch):
    """Opens shards, which are drained after the test, and wait less for fronts than usual."""
    monkeypatch.setattr("eskernel.ray.host._LINGER", 0.01)
    monkeypatch.setattr("eskernel.ray.host._POLL", 0.05)
    opened = []

    def open_shard(url: str = "memory:", **options: Any) -> tuple[ShardHost, Terms]:
        terms = Terms.of("test", 1, 60.0, setup_of(url, **options))
        shard = ShardHost(terms.packed(), 0)
        opened.append(shard)
        return shard, terms

    yield open_shard
    for shard in opened:
        shard.drain(MOVING, 0.0, True)


def note(value: Any, aggregate_id: str = "a") -> Command:
    return Command("probe", aggregate_id, "note", value)


def failure(answer: bytes) -> Exception:
    assert answer[:1] == FAILED
    return fields_to_failure(PLAIN.unpack(answer[1:]), {})


def test_a_frame_is_answered_by_its_own_call_where_nothing_waits(open_shard):
    front = Front(*open_shard())
    numbers = front.send(note(1), note(2), note(3, "b"))
    assert [front.outcomes[one].sequence for one in numbers] == [1, 2, 1]


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_a_slow_command_holds_up_no_other(open_shard, backend, tmp_path, sqlite_url):
    front = Front(*open_shard(sqlite_url if backend == "sqlite" else "memory:"))
    slow = Command("probe", "slow", "wait", str(tmp_path / "go"))
    (number, *_) = front.send(slow, note(1), note(2, "b"))
    eventually((tmp_path / "go.begun").exists)
    assert [one.sequence for one in front.outcome(note(3))] == [2]
    assert number not in front.outcomes
    (tmp_path / "go").touch()
    eventually(lambda: front.poll() and len(front.outcomes) == 4)
    assert front.outcomes[number].sequence == 1


def test_fronts_must_have_the_same_terms(open_shard):
    shard, terms = open_shard()
    assert Front(shard, terms).opened == DONE
    others = terms._replace(shards=2, setup=setup_of("memory:", snapshot_interval=5).packed())
    error = failure(shard.open(b"other", others.packed()))
    assert isinstance(error, ValueError)
    assert "differ in shards, domains, stores or options" in str(error)


def test_what_fails_as_a_shard_opens_is_told_and_tried_again(open_shard, tmp_path):
    folder = tmp_path / "later"
    shard, terms = open_shard(f"sqlite:///{folder / 'events.db'}")
    assert isinstance(failure(shard.open(b"front", terms.packed())), StoreUnavailable)
    folder.mkdir()
    assert shard.open(b"front", terms.packed()) == DONE


def test_a_session_of_another_life_is_refused_whole(open_shard):
    shard, terms = open_shard()
    front = Front(shard, terms)
    _, frame = front.pack(note(1))
    assert shard.frame(b"unknown", frame) == STRANGE
    assert shard.poll(b"unknown") == STRANGE
    assert shard.leave(front.session) == DONE
    assert shard.frame(front.session, frame) == STRANGE
    again = Front(shard, terms, b"again")
    assert [one.sequence for one in again.outcome(note(2))] == [1]


def test_the_session_of_a_front_that_is_gone_is_forgotten(open_shard):
    shard, terms = open_shard()
    gone, idle = Front(shard, terms, b"gone"), Front(shard, terms, b"idle")
    shard._sessions[gone.session].used -= 61
    assert Front(shard, terms, b"new").opened == DONE
    assert shard.frame(gone.session, gone.pack(note(1))[1]) == STRANGE
    assert [one.sequence for one in idle.outcome(note(1))] == [1]


def test_a_drained_shard_has_answered_everything_and_refuses_the_rest(
    open_shard, sqlite_url, open_url, tmp_path
):
    shard, terms = open_shard(sqlite_url)
    front = Front(shard, terms)
    (slow,) = front.send(Command("probe", "slow", "wait", str(tmp_path / "go")))
    eventually((tmp_path / "go.begun").exists)
    assert shard.drain(MOVING, 0.0, False) == BUSY
    assert [one.sequence for one in front.outcome(note(1))] == [1]
    (tmp_path / "go").touch()
    assert shard.drain(MOVING, 10.0, False) == DONE
    assert front.send(note(2))
    _, frame = front.pack(note(3))
    assert shard.frame(front.session, frame) == MOVED
    eventually(lambda: front.poll() == MOVED)
    assert front.outcomes[slow].sequence == 1
    assert shard.open(b"other", terms.packed()) == MOVED
    assert shard.drain(MOVING, 0.0, False) == DONE
    assert [event.payload["value"] for event in log(open_url(sqlite_url))] == [1, "go"]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_life_that_ray_took_for_dead_can_store_nothing(
    open_shard, backend, backend_url, open_url
):
    old = Front(*open_shard(backend_url))
    assert [one.sequence for one in old.outcome(note("before"))] == [1]
    new = Front(*open_shard(backend_url))
    assert [one.sequence for one in new.outcome(note("after"))] == [2]
    refused = old.outcome(note("too late"), note("too late", "b"))
    assert [type(one) for one in refused] == [NotOwner, NotOwner]
    assert [one.payload["value"] for one in log(open_url(backend_url))] == ["before", "after"]
