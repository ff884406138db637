"""Fencing in MongoDB: writers held at every step, markers that nobody reads, takers that die."""

from itertools import cycle
from operator import attrgetter

import pytest
from mongo_helpers import checkpoint, send
from store_helpers import OTHER, STREAM, listed, logged, made, payloads, unavailable

from eskernel.contracts import Commit, Fence
from eskernel.errors import ConcurrencyConflict, StaleEpoch, StoreUnavailable
from eskernel.testing.conformance import fencing, fencing_races
from eskernel.values import SERVING, Range
from eskernel_stores import MemoryStore
from eskernel_stores.copying import copy_store
from eskernel_stores.mongo import frontier, reading, writing
from eskernel_stores.mongo.documents import events_of, marker

FREE = ("bank_account", "depends on nothing")
SHARD = "shard/7"
LONG = 1000.0


@pytest.fixture
def store(mongo_url, open_mongo):
    return open_mongo(mongo_url)


@pytest.fixture
def other(mongo_url, open_mongo):
    """Another store of the same database, as another process would have it."""
    return open_mongo(mongo_url)


@pytest.fixture
def events(mongo_database):
    """The collection, as anybody with a client sees it."""
    return mongo_database["events"]


@pytest.fixture
def before(monkeypatch):
    """Has something happen once, before a method of an object is called the next time."""

    def before(target, name, act):
        method = getattr(target, name)
        acts = [act]

        def held(*arguments):
            if acts:
                acts.pop()()
            return method(*arguments)

        monkeypatch.setattr(target, name, held)
        return acts

    return before


def taken(store, owner, seconds=0, name=SHARD):
    """Return the fence of a lease that an owner takes; by default one that others can take."""
    (lease,) = store.acquire_leases([name], owner, seconds)
    assert lease.owner == owner
    return Fence(name, lease.epoch)


def commit(stream_id, expected, *payloads, append_id=None):
    return Commit(stream_id, made(stream_id, expected, *payloads), expected, append_id)


def fenced(store, fence, *commits):
    return store.append_fenced(commits, [fence] * len(commits))


def markers(events):
    return events.count_documents({"marker": {"$exists": True}})


def guards(events):
    """Return how often a writer has made sure of the epoch."""
    return events.database["checkpoints"].find_one({"_id": SHARD})["guards"]


def stale(outcome):
    """Return the epochs of a commit that was refused for its fence."""
    assert isinstance(outcome, StaleEpoch), outcome
    return outcome.epoch, outcome.newest


@pytest.mark.parametrize(
    ("is_warm", "step"),
    [
        (True, "_place"),
        (True, "_insert"),
        (False, "_place"),
        (False, "_frontier.look"),
        (False, "_frontier.stale"),
        (False, "_insert"),
    ],
)
def test_a_writer_that_sleeps_at_any_step_while_its_lease_is_taken_stores_nothing(
    store, other, before, is_warm, step
):
    old = taken(store, "old")
    send(other, 0, "before")
    if is_warm:
        fenced(store, old, commit(OTHER, 0, "warm"))
    found = []

    def take_over():
        taken(other, "new")
        found.extend(payloads(other))

    target, _, name = f"_chain.{step}".rpartition(".")
    left = before(attrgetter(target)(store), name, take_over)
    (outcome,) = fenced(store, old, commit(STREAM, 1, "late"))
    assert left == []
    assert stale(outcome) == (1, 2)
    assert found == payloads(store) == ["before"]


def test_a_batch_loses_what_comes_after_its_lease_was_taken(store, other, before, monkeypatch):
    monkeypatch.setattr(writing, "MOST_DOCUMENTS", 1)
    old = taken(store, "old")
    fenced(store, old, commit(OTHER, 0, "warm"))
    insert = store._chain._insert

    def insert_then_lose(documents):
        outcome = insert(documents)
        monkeypatch.setattr(store._chain, "_insert", insert)
        taken(other, "new")
        return outcome

    monkeypatch.setattr(store._chain, "_insert", insert_then_lose)
    first, *lost, free = store.append_fenced(
        [commit(STREAM, 0, "a"), commit(STREAM, 1, "b"), commit(OTHER, 1, "c"), commit(FREE, 0, 1)],
        [old, old, old, None],
    )
    assert (first, free) == (2, 4)
    assert [stale(one) for one in lost] == [(1, 2)] * 2
    assert (payloads(store), payloads(store, OTHER)) == (["a"], ["warm"])


@pytest.mark.parametrize("names", [(SHARD,), (SHARD, "and another")])
def test_whoever_is_behind_gets_stale_epoch_rather_than_a_conflict(store, other, names):
    old = [Fence(name, 1) for name in names]
    store.acquire_leases(names, "old", 0)
    streams = [STREAM, OTHER][: len(names)]
    store.append_fenced([commit(one, 0, "a") for one in streams], old)
    leases = other.acquire_leases(names, "new", 0)
    new = [Fence(name, one.epoch) for name, one in zip(names, leases, strict=True)]
    other.append_fenced([commit(one, 1, "b") for one in streams], new)
    for outcome in store.append_fenced([commit(one, 1, "late") for one in streams], old):
        assert stale(outcome) == (1, 2)
    for outcome in store.append_fenced([commit(one, 1, "late") for one in streams], new):
        assert isinstance(outcome, ConcurrencyConflict)


def test_a_conflict_that_the_index_of_streams_reports_is_no_more_than_a_stale_epoch(
    store, other, monkeypatch
):
    """A server may name the one or the other index of two that refuse a document."""
    old = taken(store, "old")
    fenced(store, old, commit(OTHER, 0, "warm"), commit(STREAM, 0, "a"))
    insert = store._chain._insert

    def insert_one_and_lose(documents):
        monkeypatch.setattr(store._chain, "_insert", insert)
        assert insert(documents[:1]) == (1, None)
        fenced(other, taken(other, "new"), commit(STREAM, 1, "theirs"))
        return 1, False

    monkeypatch.setattr(store._chain, "_insert", insert_one_and_lose)
    first, late = fenced(store, old, commit(OTHER, 1, "b"), commit(STREAM, 1, "late"))
    assert first == 3
    assert stale(late) == (1, 2)
    assert payloads(store) == ["a", "theirs"]


def test_an_epoch_that_no_commit_sent_depends_on_refuses_none_of_the_newest(store):
    first, newest = [taken(store, owner, name="b") for owner in ("one", "two")]
    a, late, c = store.append_fenced(
        [commit(STREAM, 0, "a"), commit(STREAM, 1, "late"), commit(OTHER, 0, "c")],
        [taken(store, "one"), first, newest],
    )
    assert (a, stale(late)) == (1, (1, 2))
    assert payloads(store, OTHER) == ["c"]
    assert isinstance(c, int)


def test_two_owners_of_one_store_are_kept_apart_though_a_third_comes_between(
    store, other, before, monkeypatch
):
    """Who has come too late for an epoch has not got it, but the epoch before is over."""
    old = taken(store, "first")
    fenced(store, old, commit(STREAM, 0, "a"))

    def come_between():
        with monkeypatch.context() as patch:
            patch.setattr(other._leases, "_mark", lambda _: None)  # it has not come so far
            assert taken(other, "third").epoch == 3

    left = before(store._chain._guards, "mark", come_between)
    assert taken(store, "second").epoch == 2
    assert left == []
    assert stale(*fenced(store, old, commit(STREAM, 1, "late"))) == (1, 3)


def test_a_hole_in_the_log_is_left_alone(store, other, events):
    """Only damage makes one. What was there is in a backup, perhaps."""
    send(store, 0, "a")
    for sequence in range(3):
        send(other, sequence, "b", stream_id=OTHER)
    events.delete_one({"_id": 3})
    assert send(store, 1, "c") == 5


def test_a_lease_of_no_time_is_free_at_once_by_the_clock_of_every_server(store, events):
    taken(store, "first")
    assert events.database["checkpoints"].find_one({"_id": SHARD})["expires"] == 0


def test_names_that_cannot_be_made_are_no_endless_work(store, mongo_to_kill, events):
    with mongo_to_kill.failing("insert", errorCode=13):  # Unauthorized
        unavailable(store.acquire_leases, ["a", "b"], "first", 0)
    assert events.database["checkpoints"].count_documents({}) == 0
    assert [one.epoch for one in store.acquire_leases(["a", "b"], "first", 0)] == [1, 1]


@pytest.mark.parametrize("step", ["_mark", "_names.update"])
def test_who_asks_while_a_lease_changes_hands_again_and_again_is_told_the_truth(
    store, other, before, step
):
    taken(store, "first")
    fenced(store, Fence(SHARD, 1), commit(STREAM, 0, "a"))
    target = store._leases if step == "_mark" else store._leases._names
    before(target, step.rpartition(".")[2], lambda: taken(other, "third"))
    second = taken(store, "second")
    assert second.epoch == (2 if step == "_mark" else 3)
    newest = taken(other, "fourth")
    (outcome,) = fenced(store, second, commit(STREAM, 1, "late"))
    assert stale(outcome) == (second.epoch, newest.epoch)


class Several:
    """One store in the eyes of its user, who in truth asks another of three every time."""

    def __init__(self, stores):
        self._stores = cycle(stores)

    def __getattr__(self, name):
        return getattr(next(self._stores), name)


@pytest.mark.parametrize("check", [*fencing.CHECKS, *fencing_races.CHECKS])
def test_stores_of_many_processes_keep_the_guarantees_together(check, mongo_url, open_mongo):
    check(Several([open_mongo(mongo_url, timeout=30) for _ in range(3)]))


@pytest.mark.parametrize("next_owner", ["second", "third"])
@pytest.mark.parametrize("step", ["mark", "_guards.mark"])
def test_who_dies_while_taking_a_lease_is_made_up_for(
    store, other, events, monkeypatch, step, next_owner
):
    """Before the marker is inserted, or before it is noted; nobody has got the lease."""
    old = taken(store, "first")
    fenced(store, old, commit(STREAM, 0, "a"))

    def die(_):
        raise StoreUnavailable("died")

    with monkeypatch.context() as patch:
        if step == "mark":
            patch.setattr(other._leases, "_mark", die)
        else:
            patch.setattr(other._chain._guards, "mark", die)
        unavailable(other.acquire_leases, [SHARD], "second", 0)
    before = markers(events)
    assert before == (0 if step == "mark" else 1)
    fenced(store, old, commit(STREAM, 1, "b"))
    new = taken(store, next_owner)
    assert new.epoch == (2 if next_owner == "second" else 3)
    assert markers(events) == before + 1
    assert stale(*fenced(store, old, commit(STREAM, 2, "late"))) == (1, new.epoch)
    assert stale(*fenced(other, old, commit(STREAM, 2, "late"))) == (1, new.epoch)
    assert taken(other, next_owner) == new
    assert markers(events) == before + 1


def test_appends_ask_once_whoever_inserts_between_them_until_there_is_a_marker(
    store, other, events
):
    held = taken(store, "first", LONG)
    for sequence in range(10):
        assert isinstance(*fenced(store, held, commit(STREAM, sequence, "x")), int)
        send(other, sequence, "y", stream_id=OTHER)
    assert guards(events) == 1
    send(other, 10, *range(frontier.NEAR), stream_id=OTHER)  # too much to look through
    fenced(store, held, commit(STREAM, 10, "x"))
    assert guards(events) == 2
    for owner in ("one", "another"):
        fenced(other, taken(other, owner, name="shard/8"), commit(FREE, len(owner) // 7, "z"))
    fenced(store, held, commit(STREAM, 11, "x"))
    assert guards(events) == 3


def test_renewals_and_first_owners_need_no_marker_and_many_names_one(store, other, events):
    names = [f"shard/{number}" for number in range(64)]
    fences = [Fence(one.name, 1) for one in map(Fence, names, [1] * 64)]
    streams = [("t", name) for name in names]
    for _ in range(2):
        store.acquire_leases(names, "first", 0)
        store.append_fenced([commit(one, 0, "x") for one in streams], fences)
    store.acquire_lease(SHARD, "first", 0)
    assert markers(events) == 0
    leases = other.acquire_leases(names, "second", LONG)
    assert {one.epoch for one in leases} == {2}
    assert markers(events) == 1
    other.acquire_leases(names, "second", LONG)
    assert markers(events) == 1
    outcomes = store.append_fenced([commit(one, 1, "late") for one in streams], fences)
    assert {stale(one) for one in outcomes} == {(1, 2)}
    assert other.last_position() == 64


@pytest.mark.parametrize("how", ["lease", "checkpoint"])
def test_a_larger_epoch_refuses_appends_wherever_it_comes_from(store, other, how):
    old = taken(store, "first")
    fenced(store, old, commit(STREAM, 0, "a"))
    if how == "lease":
        assert other.acquire_lease(SHARD, "second", LONG).epoch == 2
    else:
        other.save_checkpoints(SHARD, 2, {SERVING: checkpoint(1)})
    assert stale(*fenced(store, old, commit(STREAM, 1, "late"))) == (1, 2)


def test_leases_without_appends_leave_no_markers(store, events):
    for owner in ("first", "second"):
        lease = store.acquire_lease("projection", owner, 0)
        store.save_checkpoints("projection", lease.epoch, {SERVING: checkpoint(1)})
    assert markers(events) == 0


def take_and_give(store, times):
    """Insert markers."""
    for number in range(times):
        taken(store, f"owner {number}")
        store.release_leases([SHARD], f"owner {number}")


def fill(store):
    """Make a log with markers at the end, one after another, and between events."""
    send(store, 0, "a", "b")
    take_and_give(store, 1)
    fenced(store, taken(store, "guard", 0), commit(OTHER, 0, "c"))
    take_and_give(store, 2)
    send(store, 2, "d", "e", "f")
    take_and_give(store, 1)
    send(store, 5, "g")
    take_and_give(store, 3)


def test_nobody_reads_a_marker(store, other, events):
    fill(store)
    assert markers(events) == 6
    log = other.fold_all(listed, [])[0]
    assert [one.payload for one in log] == [*"abcdefg"]
    assert [one.position for one in log] == [1, 2, 3, 6, 7, 8, 10]
    assert store.last_position() == 10
    assert "".join(payloads(store)) == "abdefg"
    for reader in (store, other):
        for start in range(15):
            for stop in (None, *range(start, 15)):
                end = 99 if stop is None else stop
                inside = [one for one in log if start <= one.position < end]
                for limit in (None, 1, 3):
                    expected = inside[:limit]
                    reached = expected[-1].position if expected else max(start - 1, 0)
                    found = reader.fold_all(listed, [], Range(start, stop), limit=limit)
                    assert found == (expected, reached), (start, stop, limit)


def test_a_log_that_begins_with_markers_is_read_from_its_first_event(store, events):
    events.insert_many([marker(1, ["x"]), marker(2, ["y"])])
    assert store.last_position() == 0
    assert store.fold_all(listed, []) == ([], 0)
    assert send(store, 0, "a") == 3
    assert [one.position for one in store.fold_all(listed, [], limit=1)[0]] == [3]


def test_who_follows_the_log_passes_markers_once(store, monkeypatch):
    fill(store)
    starts = []
    find = reading.Reading._find
    monkeypatch.setattr(
        reading.Reading, "_find", lambda self, *where: starts.append(where[0]) or find(self, *where)
    )
    for _ in range(3):
        assert store.fold_all(listed, [], Range(11), limit=100) == ([], 10)
    assert starts[0] == 11
    assert starts[-1] == 14
    send(store, 6, "h")
    assert [one.payload for one in store.fold_all(listed, [], Range(11))[0]] == ["h"]


def test_a_copy_has_no_markers(store, mongo, open_mongo, events):
    fill(store)
    target = open_mongo(mongo.new_url())
    assert copy_store(store, target).events == 7
    assert target.last_position() == 7
    assert copy_store(target, MemoryStore()).copied == 7
    assert logged(target) == logged(store)


def test_to_those_who_know_no_markers_one_is_an_append_like_others(store):
    document = marker(5, [SHARD])
    (event,) = events_of(document, "_id", 1, 9, store._unpack)
    assert (event.stream_id[0], event.sequence, event.position) == ("", 1, 5)
    assert (event.type, event.payload) == ("leases_taken", None)


@pytest.mark.parametrize(
    ("needle", "forwarded"), [(b"update", True), (b"update", False), (b"insert", True)]
)
def test_leases_are_taken_though_a_connection_is_cut(
    store, open_far_mongo, mongo_proxy, events, needle, forwarded
):
    names = [SHARD, "shard/8"]
    old = taken(store, "first")
    fenced(store, old, commit(STREAM, 0, "a"))
    far = open_far_mongo()
    assert payloads(far) == ["a"]
    mongo_proxy.rules = [(needle, forwarded)]
    first, second = far.acquire_leases(names, "second", LONG)
    assert mongo_proxy.rules == []
    assert (first.owner, first.epoch, second.owner) == ("second", 2, "second")
    assert markers(events) == 1
    assert stale(*fenced(store, old, commit(STREAM, 1, "late"))) == (1, 2)
