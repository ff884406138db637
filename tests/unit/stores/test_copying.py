"""A whole store copied into another: what is kept, and what is left out."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError, dataclass
from enum import Enum

import hypothesis.strategies as st
import pytest
from backends import BACKENDS
from copying_samples import (
    append,
    assert_copied,
    fill,
    fill_plainly,
    log_of,
    opener,
)
from hypothesis import given, settings

from domains import bank_account
from eskernel import Command, Kernel, Snapshot
from eskernel.codec import Codec
from eskernel.errors import InvalidDomain
from eskernel.testing.conformance.samples import ALIKE, IDENTIFIERS, PAYLOADS
from eskernel.values import Event
from eskernel_stores import CopyReport, MemoryStore, copy_store

ACCOUNT = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")
opened = pytest.fixture(opener)


class Kind(Enum):
    CASH = "cash"


@dataclass(frozen=True)
class Deposited:
    amount: int
    kinds: tuple[Kind, ...] = ()


@pytest.mark.parametrize("target_kind", BACKENDS)
@pytest.mark.parametrize("source_kind", BACKENDS)
def test_a_copy_says_the_same_from_any_backend_to_any(source_kind, target_kind, opened):
    source, target = fill(opened(source_kind, "source")), opened(target_kind, "target")
    report = copy_store(source, target, batch=50)
    assert_copied(source, target)
    assert report.events == report.copied == len(log_of(source))
    again = copy_store(source, target)
    assert (again.copied, again.already_there) == (0, report.events)
    assert again.digest == report.digest == copy_store(source, MemoryStore()).digest


METADATA = st.dictionaries(st.text(max_size=3), st.sampled_from(PAYLOADS), max_size=2)
APPENDS = st.lists(
    st.tuples(
        st.sampled_from([("t", name) for name in IDENTIFIERS] + [*ALIKE]),
        st.lists(st.sampled_from(PAYLOADS), min_size=1, max_size=5),
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(IDENTIFIERS),
                "header": METADATA,
                "tags": st.lists(st.text(max_size=3), max_size=3).map(tuple),
                "timestamp": st.integers(0, 2**53),
                "command_id": st.none() | st.sampled_from(IDENTIFIERS),
            }
        ),
    ),
    max_size=15,
)


@settings(deadline=None)
@given(appends=APPENDS, batch=st.integers(1, 8), already=st.integers(0, 15))
def test_any_log_is_copied_whether_some_of_it_is_there_or_not(appends, batch, already):
    source, target = MemoryStore(), MemoryStore()
    for number, (stream_id, payloads, attributes) in enumerate(appends):
        for store in (source, target) if number < already else (source,):
            append(store, stream_id, *payloads, **attributes)
    there = target.last_position()
    report = copy_store(source, target, batch=batch)
    assert_copied(source, target)
    assert report.already_there == there
    assert report.copied + report.already_there == report.events == source.last_position()
    assert report.streams == len({stream_id for stream_id, _, _ in appends})


def test_the_digest_tells_logs_apart_and_not_what_positions_they_have():
    first, second, third = MemoryStore(), MemoryStore(), MemoryStore()
    for store, streams in ((first, [ACCOUNT, OTHER]), (second, [OTHER, ACCOUNT])):
        for stream_id in streams:
            append(store, stream_id, 1)
    append(third, ACCOUNT, 1, timestamp=1)
    digests = {copy_store(store, MemoryStore()).digest for store in (first, second, third)}
    assert len(digests) == 3
    assert all(len(digest) == 64 for digest in digests)


def test_the_report_is_frozen_and_says_what_is_left_out():
    source, target = MemoryStore(), MemoryStore()
    append(source, ACCOUNT, 1, 2)
    source.store(Snapshot(ACCOUNT, 2, "state"))
    report = copy_store(source, target)
    expected = CopyReport(2, 1, 2, 0, report.digest, 2, report.seconds)
    assert report == expected
    assert report.seconds > 0
    for word in ("renumbered", "snapshots", "checkpoints", "rebuilt"):
        assert word in report.left_out
    assert target.load_latest(ACCOUNT) is None
    with pytest.raises(FrozenInstanceError):
        report.events = 3


def test_an_empty_store_is_copied():
    target, steps = MemoryStore(), []
    report = copy_store(MemoryStore(), target, progress=lambda *step: steps.append(step))
    assert (report.events, report.streams, report.until) == (0, 0, 0)
    assert target.last_position() == 0
    assert steps[-1] == ("done", 1.0)


def test_ten_thousand_events_are_copied_fast_and_progress_only_grows():
    source, steps = fill_plainly(MemoryStore(), 10_000, streams=1000), []
    began = time.monotonic()
    report = copy_store(source, MemoryStore(), progress=lambda *step: steps.append(step))
    assert time.monotonic() - began < 10  # a second or less on an idle machine
    assert report.copied == 10_000
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], steps[-1]) == (0.0, ("done", 1.0))
    assert len(set(fractions)) > 40
    stages = list(dict.fromkeys(stage for stage, _ in steps))
    assert stages[0].startswith("reading")
    assert "copying" in stages
    assert stages[-2].startswith("verifying")


def test_what_is_appended_meanwhile_is_left_for_the_next_copy():
    class Busy(MemoryStore):
        def fold_all(self, function, initial, range, **options):
            append(self, ACCOUNT, "meanwhile")
            append(self, ("bank_account", f"new-{self.last_position()}"), "meanwhile")
            return super().fold_all(function, initial, range, **options)

    source, target = fill(Busy()), MemoryStore()
    there = source.last_position()
    report = copy_store(source, target, batch=20)
    assert (report.until, report.events, target.last_position()) == (there, there, there)
    assert source.last_position() > there
    there = source.last_position()
    assert copy_store(source, target).copied == there - report.events


def test_a_command_repeated_on_the_copy_gets_its_first_outcome():
    command = Command(*ACCOUNT, "deposit", {"amount": 5}, command_id="c-1")
    source, target = MemoryStore(), MemoryStore()
    with Kernel({"bank_account": bank_account}, source) as kernel:
        done = kernel.dispatch(command)
        kernel.dispatch(Command(*ACCOUNT, "deposit", {"amount": 7}))
    copy_store(source, target)
    with Kernel({"bank_account": bank_account}, target) as kernel:
        assert kernel.dispatch(command) == done
        assert kernel.state_of(*ACCOUNT) == ({"balance": 12}, 2)


def test_declared_types_are_copied_between_stores_that_know_them():
    types = (Deposited, Kind)
    source, target = MemoryStore(types), MemoryStore(types)
    append(source, ACCOUNT, Deposited(1), [{2: Deposited(3, (Kind.CASH,))}], Kind.CASH)
    copy_store(source, target)
    assert log_of(target, types) == log_of(source, types)
    assert target.fold(ACCOUNT, lambda _, event: event.payload, None) is Kind.CASH


def test_a_source_that_was_not_told_its_types_is_refused_before_anything_is_written():
    codec = Codec([Deposited])
    source, target = MemoryStore(), MemoryStore([Deposited])
    sealed = Event(ACCOUNT, 1, "deposited", Deposited(1)).sealed(codec.pack, codec.unpack)
    append(source, OTHER, "plain")
    source.append(ACCOUNT, [sealed], expected_sequence=0)
    with pytest.raises(InvalidDomain, match=r"event 1 of stream .*acc-1.*Deposited.*types=") as it:
        copy_store(source, target)
    assert "open_store(url, types=" in str(it.value)
    assert target.last_position() == 0


def test_open_events_of_a_source_are_copied_too():
    class Open(MemoryStore):
        def fold_all(self, function, initial, *arguments, **options):
            def opened(accumulator, event):
                return function(accumulator, Event(*event._public()))

            return super().fold_all(opened, initial, *arguments, **options)

    source, target = fill(Open()), MemoryStore()
    copy_store(source, target)
    assert_copied(source, target)
