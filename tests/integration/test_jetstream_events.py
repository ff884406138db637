"""JetStreamStore: what its guarantees do not show, on real servers."""

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from contextlib import ExitStack

import msgpack
import nats as nats_client
import pytest
from store_helpers import (
    OTHER,
    STREAM,
    append,
    every_call_unavailable,
    listed,
    log,
    made,
    payloads,
    unavailable,
)
from support import eventually, new_seed, run_threads

from eskernel.contracts import (
    BatchingEventStore,
    CheckpointStore,
    Commit,
    HintingEventStore,
    SnapshotStore,
)
from eskernel.errors import ConcurrencyConflict, CorruptStore, NotStorable, StoreUnavailable
from eskernel.values import Event, Range
from eskernel_stores.jetstream import JetStreamStore

MEGABYTE = 1 << 20


class Interruption(BaseException):
    pass


@pytest.fixture
def open_store():
    """Opens JetStreamStores, which are closed after the test."""
    with ExitStack() as stores:

        def open_store(url, **options):
            store = JetStreamStore(url, **options)
            stores.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def store(nats_url, open_store):
    return open_store(nats_url)


@pytest.fixture
def client(nats):
    """Runs a function with a client of the library's own, and returns what it does."""

    def client(function):
        async def run():
            connected = await nats_client.connect(nats.servers())
            try:
                return await function(connected.jetstream())
            finally:
                await connected.close()

        return asyncio.run(run())

    return client


def name_of(url):
    return url.rsplit("/", 1)[1]


def commit(stream_id, expected, *payloads, append_id=None):
    return Commit(stream_id, made(stream_id, expected, *payloads), expected, append_id)


def asked(store):
    """Return a list that grows with every question for JetStream's API."""
    connection = store._service.connection
    questions, ask, page = [], connection.ask, connection.raw_page

    async def noting(subject, body=None):
        questions.append((subject, body))
        return await ask(subject, body)

    async def noting_page(*arguments):
        questions.append(arguments)
        return await page(*arguments)

    connection.ask, connection.raw_page = noting, noting_page
    return questions


def test_it_is_a_store_of_everything_but_tables(store):
    for protocol in (BatchingEventStore, SnapshotStore, CheckpointStore, HintingEventStore):
        assert isinstance(store, protocol)
    assert not getattr(store, "immediate", False)


def test_streams_are_made_once_and_kept_as_they_are(nats_url, open_store, client):
    name = name_of(nats_url)
    open_store(nats_url)

    async def configurations(context):
        buckets = (f"KV_{name}-snapshots", f"KV_{name}-checkpoints")
        infos = [await context.stream_info(one) for one in (f"{name}-events", *buckets)]
        return [info.config for info in infos]

    events, *buckets = client(configurations)
    assert events.subjects == [f"{name}.events.>"]
    assert (events.num_replicas, events.storage, events.retention) == (3, "file", "limits")
    assert (events.discard, events.deny_delete, events.deny_purge) == ("new", True, True)
    assert events.allow_direct
    assert events.max_msgs == events.max_bytes == -1
    for bucket in buckets:
        assert bucket.subjects == [f"$KV.{bucket.name.removeprefix('KV_')}.>"]
        assert (bucket.num_replicas, bucket.max_msgs_per_subject) == (3, 1)
        assert bucket.allow_rollup_hdrs
        assert bucket.allow_direct

    async def widen(context):
        changed = events.evolve(max_msgs=12_345)
        await context.update_stream(changed)

    client(widen)
    open_store(f"{nats_url}?replicas=1")
    assert client(configurations)[0] == events.evolve(max_msgs=12_345)


def test_a_single_replica_is_enough_if_asked_for(nats_url, open_store):
    store = open_store(f"{nats_url}?replicas=1")
    append(store, STREAM, "x", "y")
    assert [one for one in store.append_batch([commit(STREAM, 2, 1), commit(OTHER, 0, 2)]) if one]
    assert payloads(store) == ["x", "y", 1]


def test_a_store_with_fewer_replicas_than_asked_for_is_not_taken_for_safe(nats_url, open_store):
    open_store(f"{nats_url}?replicas=1").close()
    error = unavailable(JetStreamStore, nats_url)
    assert "on 1 servers, not on 3" in str(error)
    assert "?replicas=1" in str(error)


def test_too_few_servers_are_said_to_be(nats_url):
    error = unavailable(JetStreamStore, f"{nats_url}?replicas=5")
    assert "too few servers to keep 5 replicas" in str(error)
    assert "?replicas=1" in str(error)
    assert not error.outcome_unknown


def test_a_stream_of_somebody_elses_is_refused(nats_url, client):
    name = name_of(nats_url)
    client(lambda context: context.add_stream(name=f"{name}-events", subjects=[f"{name}.other"]))
    error = unavailable(JetStreamStore, nats_url)
    assert f"the stream {name}-events has subjects=['{name}.other']" in str(error)


def test_no_server_is_said_within_the_timeout(nats_url):
    error = unavailable(JetStreamStore, "nats://me:s3cret@127.0.0.1:1/x", timeout=0.3)
    assert "no NATS server could be reached within 0.3 seconds" in str(error)
    assert "s3cret" not in str(error)
    assert not error.outcome_unknown


def test_the_password_is_not_shown(nats_url, open_store):
    store = open_store(nats_url.replace("nats://", "nats://me:s3cret@"))
    assert repr(store) == f"JetStreamStore('{nats_url.replace('nats://', 'nats://me:***@')}')"
    assert "s3cret" not in repr(store)


def test_an_append_of_many_messages_is_read_whole(store):
    large = [os.urandom(MEGABYTE + number) for number in range(4)]
    append(store, OTHER, "before")
    last = append(store, STREAM, "a", *large[:3], "b", large[3])
    append(store, OTHER, "after")
    append(store, STREAM, "c")
    assert payloads(store) == ["a", *large[:3], "b", large[3], "c"]
    events = store.fold(STREAM, listed, [])
    assert [event.position for event in events[:6]] == [*range(last - 5, last + 1)]
    assert log(store) == sorted(
        [*events, *store.fold(OTHER, listed, [])], key=lambda event: event.position
    )


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_log_is_read_on_amidst_an_append_of_many_messages(store, limit):
    append(store, OTHER, "before")
    append(store, STREAM, "a", os.urandom(2 * MEGABYTE), "b", "c")
    append(store, OTHER, "after")
    whole, seen, reached = log(store), [], 0
    while len(seen) < len(whole):
        page, reached = store.fold_all(listed, [], Range(reached + 1), limit=limit)
        assert 0 < len(page) <= limit
        assert reached == page[-1].position
        seen += page
    assert seen == whole
    assert store.fold_all(listed, [], Range(reached + 1)) == ([], reached)
    for event in whole:
        start, stop = event.position, event.position + 1
        assert store.fold_all(listed, [], Range(start, stop)) == ([event], start)
        amidst = start + (1 << 20)  # what no event can have: the next message of an append
        assert store.fold_all(listed, [], Range(amidst))[0] == [
            later for later in whole if later.position >= amidst
        ]


def test_ranges_begin_and_end_amidst_an_append_of_many_messages(store):
    parts = ["a", os.urandom(2 * MEGABYTE), "b", "c", "d"]
    append(store, STREAM, "before")
    append(store, STREAM, *parts)
    everything = ["before", *parts]
    for start in range(1, 8):
        for stop in (None, *range(start, 8)):
            wanted = [event.payload for event in store.fold(STREAM, listed, [], Range(start, stop))]
            assert wanted == everything[start - 1 : None if stop is None else stop - 1]


def test_what_one_batch_of_messages_cannot_hold_is_refused_alone(store):
    store._service._wires.max_payload = 4096
    most = 1000 * (4096 - 512)
    outcomes = store.append_batch(
        [
            commit(OTHER, 0, "first"),
            commit(STREAM, 0, os.urandom(most)),
            commit(OTHER, 1, "second"),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [int, NotStorable, int]
    assert "the server takes 1000 messages of 3584 bytes at once" in str(outcomes[1])
    assert payloads(store) == []
    assert payloads(store, OTHER) == ["first", "second"]
    largest = os.urandom(most - 100_000)
    append(store, STREAM, largest)
    assert payloads(store) == [largest]


def test_commits_of_more_messages_than_a_batch_has_go_in_several(store):
    store._service._wires.max_payload = 4096
    large = [os.urandom(1_000_000) for _ in range(5)]  # of 285 messages each
    commits = [commit(STREAM, number, one) for number, one in enumerate(large)]
    commits += [commit(("t", str(number)), 0, number) for number in range(1500)]
    commits += [commit(OTHER, number, number) for number in range(1500)]
    outcomes = store.append_batch(commits)
    assert {type(outcome) for outcome in outcomes} == {int}
    assert outcomes == sorted(outcomes)
    assert payloads(store) == large
    assert payloads(store, OTHER) == [*range(1500)]
    assert [event.position for event in log(store)] == outcomes


def test_a_cached_head_that_is_out_of_date_is_asked_for_again(store, nats_url, open_store):
    other = open_store(nats_url)
    append(store, STREAM, "a")
    append(other, STREAM, "b", "c")
    with pytest.raises(ConcurrencyConflict) as refused:
        store.append(STREAM, made(STREAM, 1, "late"), expected_sequence=1)
    assert (refused.value.expected, refused.value.actual) == (1, 3)
    append(other, STREAM, "d")
    store.append(STREAM, made(STREAM, 4, "e"), expected_sequence=4)
    with pytest.raises(ConcurrencyConflict) as refused:
        other.append(STREAM, made(STREAM, 0, "late"), expected_sequence=0)
    assert (refused.value.expected, refused.value.actual) == (0, 5)
    with pytest.raises(ConcurrencyConflict) as refused:
        other.append(STREAM, made(STREAM, 9, "early"), expected_sequence=9)
    assert (refused.value.expected, refused.value.actual) == (9, 5)
    assert payloads(store) == ["a", "b", "c", "d", "e"]


def test_of_a_batch_only_those_who_come_late_conflict(store, nats_url, open_store):
    streams = [("t", str(number)) for number in range(60)]
    for round_of_all in range(2):
        store.append_batch([commit(one, round_of_all, round_of_all) for one in streams])
    late = streams[::7]
    open_store(nats_url).append_batch([commit(one, 2, "other") for one in late])
    outcomes = store.append_batch(
        [commit(one, expected, "mine") for one in streams for expected in (2, 3)]
    )
    for index, one in enumerate(streams):
        first, second = outcomes[2 * index : 2 * index + 2]
        if one in late:
            assert (type(first), type(second)) == (ConcurrencyConflict, ConcurrencyConflict)
            assert (first.expected, first.actual) == (2, 3)
            assert payloads(store, one) == [0, 1, "other"]
        else:
            assert second == first + (1 << 20)
            assert payloads(store, one) == [0, 1, "mine", "mine"]


def test_an_append_id_is_known_long_after(store, nats_url, open_store):
    first = store.append(STREAM, made(STREAM, 0, "a"), expected_sequence=0, append_id=1)
    second = store.append(STREAM, made(STREAM, 1, "b", "c"), expected_sequence=1, append_id=2)
    store.append_batch([commit(STREAM, number, number) for number in range(3, 900)])
    for one in (store, open_store(nats_url)):
        questions = asked(one)
        again = made(STREAM, 0, "a"), made(STREAM, 1, "b", "c")
        assert one.append(STREAM, again[0], expected_sequence=0, append_id=1) == first
        assert one.append(STREAM, again[1], expected_sequence=1, append_id=2) == second
        assert len(questions) < 50
        with pytest.raises(ConcurrencyConflict):
            one.append(STREAM, again[1], expected_sequence=1, append_id=3)
    assert len(payloads(store)) == 900


def test_a_range_that_starts_late_is_not_read_from_the_beginning(store, nats_url, open_store):
    chance = random.Random(new_seed())
    expected = Counter()
    for _ in range(10):
        streams = chance.choices((STREAM, OTHER, ("t", "z")), (6, 2, 1), k=900)
        commits = []
        for one in streams:
            commits.append(commit(one, expected[one], expected[one] + 1))
            expected[one] += 1
        assert {type(outcome) for outcome in store.append_batch(commits)} == {int}
    fresh = open_store(nats_url)
    end = expected[STREAM]
    for start in (2, end // 3, end // 2, end - 500, end - 3, end):
        questions = asked(fresh)
        wanted = [e.payload for e in fresh.fold(STREAM, listed, [], Range(start, start + 10))]
        assert wanted == [*range(start, min(start + 10, end + 1))]
        pages = [one for one in questions if len(one) > 2]
        assert len(questions) < 20
        assert len(pages) <= 2
    append(store, STREAM, "new")
    questions = asked(fresh)
    assert fresh.fold(STREAM, lambda n, _: n + 1, 0, Range(end + 1)) == 1
    assert len(questions) <= 2


def test_racing_threads_of_two_stores_lose_nothing(nats_url, open_store):
    stores = [open_store(nats_url), open_store(nats_url)]
    streams = [("t", str(number)) for number in range(3)]
    stored = Counter()
    lock = threading.Lock()

    def race(index):
        store = stores[index % 2]
        chance = random.Random(index)
        for number in range(12):
            stream_id = chance.choice(streams)
            expected = store.fold(stream_id, lambda n, _: n + 1, 0)
            events = made(stream_id, expected, *[[index, number]] * chance.randint(1, 3))
            try:
                store.append(stream_id, events, expected_sequence=expected)
            except ConcurrencyConflict as conflict:
                assert conflict.actual > conflict.expected == expected
            else:
                with lock:
                    stored[stream_id] += len(events)

    run_threads(*(lambda index=index: race(index) for index in range(16)), timeout=60)
    for stream_id in streams:
        events = stores[0].fold(stream_id, listed, [])
        assert [event.sequence for event in events] == [*range(1, stored[stream_id] + 1)]
    assert len(log(stores[1])) == stored.total()
    assert stored.total() > 0


def test_a_closed_store_says_so(nats_url, open_store):
    store = open_store(nats_url)
    append(store, STREAM, "x")
    store.close()
    store.close()
    for error in every_call_unavailable(store, 1):
        assert "the store is closed; open it again" in str(error)
        assert not error.outcome_unknown
    assert payloads(open_store(nats_url)) == ["x"]


def test_a_forked_child_is_told_to_open_its_own(store, nats_url):
    append(store, STREAM, "x")
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            errors = every_call_unavailable(store, 1)
            store.close()
            said = {"open a store of its own here" in str(error) for error in errors}
            os.write(writer, b"good" if said == {True} else b"bad")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"good"
    os.close(reader)
    os.close(writer)
    append(store, STREAM, "y")
    assert payloads(store) == ["x", "y"]


# What interrupts the callback of a weak reference is raised by nobody, and Python says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.stress
def test_interrupted_threads_leave_the_store_usable(store):
    chance = random.Random(new_seed())
    main = threading.main_thread()
    assert threading.current_thread() is main
    interrupted = 0

    def interrupt(*_):
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(80):
            sequence = store.fold(STREAM, lambda n, _: n + 1, 0)
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0002, 0.004))
                store.append(STREAM, made(STREAM, sequence, number), expected_sequence=sequence)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                interrupted += 1
            except ConcurrencyConflict as conflict:  # an interrupted append was under way still
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert conflict.actual > conflict.expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    eventually(lambda: _stored(store, "last"))
    events = store.fold(STREAM, listed, [])
    assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
    numbers = [event.payload for event in events[:-1]]
    assert len({*numbers}) == len(numbers)
    assert len(numbers) >= 80 - 2 * interrupted
    assert not store._service.portal._awaited


def _stored(store, payload):
    try:
        append(store, STREAM, payload)
    except ConcurrencyConflict:  # an interrupted append was under way still
        return False
    return True


FORMS = (1, 1, 1, b"i" * 16, 0, 1, [["happened", b"\x01", b"", [], 0, None]])


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "cannot be read"),
        (b"nonsense", "cannot be read"),
        (msgpack.packb((2, *FORMS[1:])), "format 2 is of a later eskernel"),
        (msgpack.packb((*FORMS[:6], [])), "1 events were to be here"),
        (msgpack.packb((*FORMS[:1], 9, *FORMS[2:])), "event 3 of stream .* is missing"),
    ],
)
def test_damage_is_told_with_stream_and_sequence(store, nats_url, client, payload, problem):
    append(store, STREAM, "a", "b")
    append(store, OTHER, "fine")
    subject = f"{name_of(nats_url)}.events.bank_account.acc-1"
    client(lambda context: context.publish(subject, payload))
    seen = []
    with pytest.raises(CorruptStore, match=problem) as corrupt:
        store.fold(STREAM, lambda _, event: seen.append(event.payload), None)
    assert corrupt.value.stream_id == STREAM
    if "is missing" in problem:
        assert corrupt.value.sequence == 3
        return
    with pytest.raises(CorruptStore, match=problem) as corrupt:
        store.fold_all(lambda _, event: None, None)
    assert corrupt.value.stream_id == STREAM
    outcomes = store.append_batch(
        [commit(OTHER, 1, "x"), commit(STREAM, 0, "y"), commit(OTHER, 2, "z")]
    )
    assert [type(outcome) for outcome in outcomes] == [int, CorruptStore, int]
    assert payloads(store, OTHER) == ["fine", "x", "z"]


def test_damage_amidst_a_stream_is_told_after_what_is_before_it(store, nats_url, client):
    append(store, STREAM, "a", "b")
    subject = f"{name_of(nats_url)}.events.bank_account.acc-1"
    client(lambda context: context.publish(subject, b"nonsense"))
    client(lambda context: context.publish(subject, msgpack.packb((1, 3, *FORMS[2:]))))
    seen = []
    with pytest.raises(CorruptStore, match=r"event 3 of stream .* cannot be read") as corrupt:
        store.fold(STREAM, lambda _, event: seen.append(event.payload), None)
    assert (corrupt.value.stream_id, corrupt.value.sequence) == (STREAM, 3)
    assert seen == ["a", "b"]


def test_a_subject_of_no_stream_is_told(store, nats_url, client):
    subject = f"{name_of(nats_url)}.events.bank_account"
    client(lambda context: context.publish(subject, msgpack.packb(FORMS)))
    with pytest.raises(CorruptStore, match=rf"the subject {subject} .* is no stream's"):
        store.fold_all(listed, [])


def test_a_stream_that_was_deleted_is_no_store_any_more(nats_url, open_store, client):
    store = open_store(nats_url, timeout=0.5)
    append(store, STREAM, "x")
    client(lambda context: context.delete_stream(f"{name_of(nats_url)}-events"))
    for call in (lambda: payloads(store), lambda: log(store), store.last_position):
        assert "stream not found" in str(unavailable(call))
    error = unavailable(store.append, STREAM, made(STREAM, 1, "y"), expected_sequence=1)
    assert not error.outcome_unknown


def test_the_store_goes_on_when_its_server_restarts(nats_to_kill, nats_url, open_store):
    store = open_store(nats_url, timeout=10)
    append(store, STREAM, "a")
    wire = store._service._wires._wire
    (number,) = (
        node.number for node in nats_to_kill.nodes if wire.server.endswith(f":{node.port}")
    )
    nats_to_kill.stop(number)
    eventually(wire.gone.is_set)
    eventually(lambda: _appended(store, "b"), timeout=30)
    assert payloads(store) == ["a", "b"]
    assert store._service._wires._wire.server != wire.server


def _appended(store, payload):
    try:
        append(store, STREAM, payload)
    except StoreUnavailable as error:  # as long as there is no leader
        assert not error.outcome_unknown  # nothing else would be safe to try again here
        return False
    return True


def test_events_of_any_time_and_tag_come_back(store):
    events = [
        Event(STREAM, 1, "é", None, {"by": "ü"}, ("a", "ß"), -(2**62), None, "c\u2028"),
        Event(STREAM, 2, "x", {"n": 2**200}, {}, (), 2**63 - 1, None, None),
    ]
    store.append(STREAM, events, expected_sequence=0)
    found = store.fold(STREAM, listed, [])
    assert [event.at(None) for event in found] == events
