"""Leases and checkpoints of every store that processes share: races, clocks, names, closing."""

import time

import pytest
from backends import SERVERS, SHARED
from store_helpers import race_processes, run_program, unavailable

from eskernel.contracts import CheckpointStore
from eskernel.errors import NotStorable, StaleEpoch
from eskernel.values import Checkpoint

NAME = "balances"
LARGE = 600_000
"""Bytes of a state that no store keeps in one piece, if it cuts any."""


@pytest.fixture(params=SHARED)
def backend(request):
    return request.param


@pytest.fixture
def store(backend_url, open_url):
    return open_url(backend_url)


@pytest.fixture
def other(backend_url, store, open_url):
    """Another store of the same checkpoints, as another process would have."""
    return open_url(backend_url)


def made(position, epoch=0, state=b"\x81\xa1b\x05"):
    return Checkpoint(position, "v1", state, b"\x90", epoch)


def test_it_is_a_store_of_checkpoints(store):
    assert isinstance(store, CheckpointStore)


def test_eight_processes_get_the_first_lease_of_a_name_once(backend_url, store):
    said = race_processes(
        8,
        f"""
        def work(index):
            with closing(open_patiently({backend_url!r})) as store:
                for number in range(10):
                    lease = store.acquire_lease(f"name {{number}}", f"owner {{index}}", 600)
                    say(f"{{number}} {{lease.epoch}} {{lease.owner}}")
        """,
    )
    assert len(said) == 8 * 10
    told = {}
    for line in said:
        number, rest = line.split(" ", 1)
        told.setdefault(number, set()).add(rest)
    assert all(len(leases) == 1 for leases in told.values()), told
    assert all(lease.startswith("1 ") for leases in told.values() for lease in leases)


def test_processes_that_hand_a_lease_on_never_share_an_epoch(backend_url, store):
    said = race_processes(
        5,
        f"""
        import time

        def work(index):
            with closing(open_patiently({backend_url!r})) as store:
                taken, deadline = 0, time.monotonic() + 60
                while taken < 3:
                    assert time.monotonic() < deadline
                    lease = store.acquire_lease("balances", f"owner {{index}}", 600)
                    if lease.owner != f"owner {{index}}":
                        continue
                    state = bytes([index]) * ({LARGE} if lease.epoch % 2 else 1)
                    store.save_checkpoints("balances", lease.epoch, {{
                        "serving": Checkpoint(lease.epoch, "v", state)
                    }})
                    say(lease.epoch)
                    found = store.load_checkpoint("balances")
                    assert found == (lease.epoch, "v", state, b"", lease.epoch), found[:2]
                    store.release_lease("balances", f"owner {{index}}")
                    taken += 1
        """,
        timeout=90,
    )
    assert sorted(map(int, said)) == [*range(1, 16)]
    assert store.load_checkpoint(NAME).position == 15


def test_processes_that_save_slots_of_their_own_lose_none(backend_url, store):
    race_processes(
        4,
        f"""
        def work(index):
            with closing(open_patiently({backend_url!r})) as store:
                for position in range(10):
                    one = Checkpoint(position, "v", bytes({LARGE} * (index % 2)))
                    store.save_checkpoints("balances", 1, {{f"slot {{index}}": one}})
        """,
    )
    for index in range(4):
        found = store.load_checkpoint(NAME, f"slot {index}")
        assert found == Checkpoint(9, "v", bytes(LARGE * (index % 2)), b"", 1)


def test_a_process_that_was_taken_over_stores_nothing(backend_url, store):
    epoch = store.acquire_lease(NAME, "here", 0).epoch
    store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    said = run_program(
        f"""
        with closing(open_patiently({backend_url!r})) as store:
            lease = store.acquire_lease("balances", "there", 600)
            store.save_checkpoints("balances", lease.epoch, {{}})
            say(lease.epoch)
        """
    )
    assert said == [str(epoch + 1)]
    for late in (made(2), made(2, state=bytes(LARGE))):
        with pytest.raises(StaleEpoch) as caught:
            store.save_checkpoints(NAME, epoch, {"serving": late})
        assert (caught.value.epoch, caught.value.newest) == (epoch, epoch + 1)
    assert store.load_checkpoint(NAME) == made(1, epoch)
    assert store.acquire_lease(NAME, "here", 5).owner == "there"


@pytest.mark.parametrize("backend", SERVERS)
def test_leases_run_out_by_the_servers_clock(store, other, monkeypatch):
    epoch = store.acquire_lease(NAME, "first", 600).epoch
    store.save_checkpoints(NAME, epoch, {"serving": made(1)})
    monkeypatch.setattr(time, "time", lambda: 2.0**33)
    for one in (store, other):
        lease = one.acquire_lease(NAME, "second", 600)
        assert (lease.owner, lease.epoch) == ("first", epoch)
        assert 500 < lease.seconds <= 600


def test_a_lease_may_be_for_ever(store):
    assert store.acquire_lease(NAME, "first", float("inf")).seconds == float("inf")
    store.save_checkpoints(NAME, 1, {"serving": made(1)})
    assert store.acquire_lease(NAME, "second", 5) == ("first", 1, float("inf"))


def test_a_closed_store_says_so_to_every_call(store):
    store.close()
    for call in (
        lambda: store.load_checkpoint(NAME),
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1)}),
        lambda: store.save_checkpoints(NAME, 1, {"serving": made(1, state=bytes(LARGE))}),
        lambda: store.acquire_lease(NAME, "first", 5),
        lambda: store.release_lease(NAME, "first"),
    ):
        assert "closed" in str(unavailable(call))


def test_names_that_cannot_be_stored_are_refused_and_leave_nothing(store):
    for name in ("\ud800", "a\0b", 5, None):
        for call in (
            lambda name=name: store.load_checkpoint(name),
            lambda name=name: store.load_checkpoint(NAME, name),
            lambda name=name: store.save_checkpoints(name, 1, {"a": made(1)}),
            lambda name=name: store.save_checkpoints(NAME, 1, {name: made(1)}),
            lambda name=name: store.acquire_lease(name, "first", 5),
            lambda name=name: store.acquire_lease(NAME, name, 5),
        ):
            with pytest.raises(NotStorable):
                call()
    assert store.acquire_lease(NAME, "first", 5)[:2] == ("first", 1)
