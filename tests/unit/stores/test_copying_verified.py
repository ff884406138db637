"""A copy that is not like its source, or a source that cannot be trusted, is found out."""

from __future__ import annotations

from decimal import Decimal

import pytest
from copying_samples import Single, append

from eskernel.contracts import Commit
from eskernel.errors import ConcurrencyConflict, CorruptStore, StoreUnavailable
from eskernel.values import Event
from eskernel_stores import MemoryStore, copy_store

ACCOUNT = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")


def at(event, *, stream_id=ACCOUNT, sequence=2):
    return (event.stream_id, event.sequence) == (stream_id, sequence)


class Altering(MemoryStore):
    """Stores something else than it was given.

    Args:
        alter: from an event to what is stored in its place.
    """

    def __init__(self, alter):
        super().__init__()
        self._alter = alter

    def append(self, stream_id, events, **options):
        opened = (Event(*event._public()) for event in events)
        stored = [self._alter(event) if at(event) else event for event in opened]
        return super().append(stream_id, stored, **options)


ALTERATIONS = {
    "payload": {"body": {"amount": 2, "note": "x", "at": 1}},
    "payload, an equal number of another type": {"body": {"amount": True, "note": "x"}},
    "payload, the order of its keys": {"body": {"note": "x", "amount": 1}},
    "payload, the digits of a number": {"body": {"amount": Decimal("1.0"), "note": "x"}},
    "metadata": {"header": {"user": "Eve"}},
    "metadata, lost": {"header": {}},
    "timestamp": {"timestamp": 6},
    "tags": {"tags": ("b", "a")},
    "command id": {"command_id": None},
    "type": {"type": "Happened"},
}


@pytest.mark.parametrize(("what", "change"), ALTERATIONS.items(), ids=ALTERATIONS.keys())
def test_a_target_that_alters_an_event_is_found_out(what, change):
    source = MemoryStore()
    append(source, OTHER, 1)
    for amount in (0, 1, 2):
        append(
            source,
            ACCOUNT,
            {"amount": amount, "note": "x"},
            header={"user": "Ada"},
            tags=("a", "b"),
            timestamp=5,
            command_id=f"c-{amount}",
        )
    with pytest.raises(CorruptStore, match=f"another {what.split(',')[0]} in the target") as caught:
        copy_store(source, Altering(lambda event: event._replace(**change)))
    assert (caught.value.stream_id, caught.value.sequence) == (ACCOUNT, 2)


def two_streams():
    source = MemoryStore()
    for number in range(4):
        append(source, (ACCOUNT, OTHER)[number % 2], number)
    return source


def test_a_target_with_another_order_is_found_out():
    class Backwards(MemoryStore):
        def append_batch(self, commits):
            return super().append_batch(sorted(commits, key=lambda one: one.stream_id))

    source = two_streams()
    with pytest.raises(CorruptStore, match=r"event 2 of the log is .*acc-2.* but .*acc-1") as it:
        copy_store(source, Backwards())
    assert (it.value.stream_id, it.value.sequence) == (OTHER, 1)


def test_a_target_that_loses_an_append_is_found_out():
    class Losing(MemoryStore):
        def append_batch(self, commits):
            return [*super().append_batch(commits[:-1]), 4]

    with pytest.raises(CorruptStore, match="target's log ends before event 4, where") as caught:
        copy_store(two_streams(), Losing())
    assert (caught.value.stream_id, caught.value.sequence) == (OTHER, 2)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_stream_that_reads_otherwise_by_itself_is_found_out(side):
    class TwoFaced(MemoryStore):
        def fold(self, stream_id, function, initial, *arguments):
            def turned(accumulator, event):
                lies = self.lying and at(event, stream_id=OTHER)
                return function(accumulator, event._replace(timestamp=9) if lies else event)

            return super().fold(stream_id, turned, initial, *arguments)

    store = TwoFaced()
    store.lying = side == "target"
    source, target = (store, MemoryStore()) if side == "source" else (two_streams(), store)
    if side == "source":
        copy_store(two_streams(), store)
        store.lying = True
    with pytest.raises(CorruptStore, match=f"of the {side} reads otherwise by itself") as caught:
        copy_store(source, target)
    assert (caught.value.stream_id, caught.value.sequence) == (OTHER, 2)
    assert (target.last_position() == 0) == (side == "source")


@pytest.mark.parametrize("kind", [Single, lambda store: store], ids=["append", "append_batch"])
def test_somebody_who_writes_to_a_stream_of_the_target_is_a_conflict(kind):
    source, target = two_streams(), kind(MemoryStore())

    def intrude(stage, _):
        if stage == "copying" and target.last_position() == 0:
            append(target, OTHER, "intruder")

    with pytest.raises(ConcurrencyConflict, match="somebody else writes to the target") as caught:
        copy_store(source, target, progress=intrude)
    error = caught.value
    assert (error.stream_id, error.expected, error.actual) == (OTHER, 0, 1)
    with pytest.raises(ValueError, match="no copy of the source to continue"):
        copy_store(source, target)


def test_somebody_who_writes_to_another_stream_of_the_target_is_found_out():
    source, target = two_streams(), MemoryStore()

    def intrude(stage, _):
        if stage == "copying" and target.last_position() == 0:
            append(target, ("intruder", "1"), "intruder")

    with pytest.raises(CorruptStore, match=r"nobody else wrote to the target") as caught:
        copy_store(source, target, progress=intrude)
    assert (caught.value.stream_id, caught.value.sequence) == (ACCOUNT, 1)


def test_a_source_that_changes_what_it_says_is_found_out():
    source, target = two_streams(), MemoryStore()

    def rewrite(stage, _):
        if stage == "copying" and source._log[0][6] == 0:
            source._log[0] = (*source._log[0][:6], 1, *source._log[0][7:])

    with pytest.raises(CorruptStore, match="source has changed while it was copied"):
        copy_store(source, target, progress=rewrite)


def test_a_source_with_a_hole_is_refused_before_anything_is_written():
    source, target = two_streams(), MemoryStore()
    del source._log[1]
    with pytest.raises(CorruptStore, match=r"event 1 of stream .*acc-2.* is missing") as caught:
        copy_store(source, target)
    assert (caught.value.stream_id, caught.value.sequence) == (OTHER, 1)
    assert target.last_position() == 0


def test_a_source_whose_log_ends_too_early_is_refused_before_anything_is_written():
    source, target = Single(MemoryStore()), MemoryStore()
    append(source, ACCOUNT, 1, 2)
    source.last_position = lambda: 3
    with pytest.raises(CorruptStore, match="ends at position 2, though its last event is at 3"):
        copy_store(source, target)
    assert target.last_position() == 0


def test_damaged_bytes_of_a_source_are_named_before_anything_is_written():
    source, target = two_streams(), MemoryStore()
    row = source._log[2]
    source._log[2] = (*row[:3], b"\xc1", *row[4:])
    with pytest.raises(CorruptStore, match=r"event 2 of stream .*acc-1.* cannot be dec") as caught:
        copy_store(source, target)
    assert (caught.value.stream_id, caught.value.sequence) == (ACCOUNT, 2)
    assert target.last_position() == 0


def test_a_failing_append_of_a_batch_reaches_the_caller():
    class Full(MemoryStore):
        def append_batch(self, commits: list[Commit]):
            return [StoreUnavailable("the disk is full") for _ in commits]

    with pytest.raises(StoreUnavailable, match="disk is full"):
        copy_store(two_streams(), Full())
