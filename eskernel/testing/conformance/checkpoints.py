"""Checkpoints: what comes back, and what a save leaves alone."""

from __future__ import annotations

from typing import Final

from eskernel.contracts import CheckpointStore
from eskernel.testing.conformance.samples import ALIKE, IDENTIFIERS, PAYLOADS
from eskernel.testing.conformance.tools import CODEC, require, require_equal
from eskernel.values import SERVING, Checkpoint

NAME: Final = "balances"
ANOTHER: Final = "totals"


def made(position: int, *, epoch: int = 0, state: object = "state") -> Checkpoint:
    """Return a checkpoint as it comes back from a save under an epoch."""
    packed, notes = CODEC.pack({"of": state}), CODEC.pack([position])
    return Checkpoint(position, f"v{position}", packed, notes, epoch)


def require_slots(store: CheckpointStore, name: str, **slots: Checkpoint | None) -> None:
    """Raise AssertionError unless slots of a name hold exactly this."""
    for slot, expected in slots.items():
        found = store.load_checkpoint(name, slot)
        require_equal(found, expected, f"the checkpoint in {slot!a} of {name!a}")


def a_name_without_checkpoints_has_none(store: CheckpointStore) -> None:
    """`load_checkpoint` returns None, also when other names and slots have some."""
    require_equal(store.load_checkpoint(NAME), None, "the checkpoint")
    store.save_checkpoints(ANOTHER, 0, {SERVING: made(1)})
    store.save_checkpoints(NAME, 0, {"other": made(2)})
    require_slots(store, NAME, serving=None, another=None, other=made(2))
    require_equal(store.load_checkpoint(NAME), None, "the checkpoint in the slot in use")


def checkpoints_come_back_exactly(store: CheckpointStore) -> None:
    """Position, version, and every byte of state and notes; the epoch is that of the save."""
    last = 2**63 - 1
    given = [Checkpoint(0, "", b""), Checkpoint(last, "v", b"", CODEC.pack(None), 99)]
    for payload in (*PAYLOADS, list(PAYLOADS)):
        packed = CODEC.pack(payload)
        given.append(Checkpoint(len(given), "\U0001f600 'v'\n", packed, epoch=7))
        given.append(Checkpoint(len(given), "v", CODEC.pack(0), packed))
    for checkpoint in given:
        store.save_checkpoints(NAME, 3, {SERVING: checkpoint})
        found = store.load_checkpoint(NAME)
        require_equal(found, checkpoint._replace(epoch=3), "the checkpoint")
        require_equal(type(found), Checkpoint, "its type")
    at_the_end = {"a": Checkpoint(last, "v", b"")}
    store.save_checkpoints(NAME, last, at_the_end)
    require_slots(store, NAME, a=Checkpoint(last, "v", b"", b"", last))


def a_large_checkpoint_comes_back(store: CheckpointStore) -> None:
    """Eight megabytes of state, as text and as bytes, with others beside it."""
    text = "na\u00efve text, " * (8 * 2**20 // 13)  # 13 bytes each, in UTF-8
    for number, state in enumerate((text, bytes(range(256)) * 2**15)):
        packed = CODEC.pack({"of": state})
        large = Checkpoint(number, "v", packed, b"", 1)
        store.save_checkpoints(NAME, 1, {"large": large, "small": made(number)})
        found = store.load_checkpoint(NAME, "large")
        require(found == large, "a checkpoint of 8 MB came back changed")
        require_slots(store, NAME, small=made(number, epoch=1))
    store.save_checkpoints(NAME, 1, {"small": None})
    require(store.load_checkpoint(NAME, "large") == large, "another save changed it")


def checkpoints_of_any_names_stay_apart(store: CheckpointStore) -> None:
    """Paths, wildcards, quotes, case, blanks, unicode forms, 255 characters: all are just names."""
    named = [pair for name in IDENTIFIERS for pair in (("t", name), (name, "t"))]
    keys = list(dict.fromkeys([*named, *ALIKE]))
    for number, (name, slot) in enumerate(keys):
        store.save_checkpoints(name, 0, {slot: made(number)})
    for number, (name, slot) in enumerate(keys):
        found = store.load_checkpoint(name, slot)
        require_equal(found, made(number), f"the checkpoint in {slot!a} of {name!a}")


def a_checkpoint_is_replaced_also_by_one_behind_it(store: CheckpointStore) -> None:
    """All of it: what was larger, longer or noted before leaves no trace."""
    for checkpoint in (made(9, state=["long"] * 99), Checkpoint(2, "", b""), made(5), made(4)):
        store.save_checkpoints(NAME, 0, {SERVING: checkpoint})
        require_slots(store, NAME, serving=checkpoint)


def other_slots_and_names_stay_as_they_are(store: CheckpointStore) -> None:
    """Their epoch too, whatever a save replaces or empties."""
    store.save_checkpoints(NAME, 1, {"a": made(1), "b": made(2), "c": made(3)})
    store.save_checkpoints(ANOTHER, 5, {"a": made(4)})
    store.save_checkpoints(NAME, 2, {"b": made(6), "c": None, "never": None, "d": made(7)})
    first, second = made(1, epoch=1), made(6, epoch=2)
    require_slots(store, NAME, a=first, b=second, c=None, never=None, d=made(7, epoch=2))
    require_slots(store, ANOTHER, a=made(4, epoch=5), b=None)
    store.save_checkpoints(NAME, 2, {})
    require_slots(store, NAME, a=first, b=second, d=made(7, epoch=2))


def an_emptied_slot_is_filled_again(store: CheckpointStore) -> None:
    """With what comes then; so slots change places in one save."""
    store.save_checkpoints(NAME, 0, {SERVING: made(1), "rebuilt": made(2)})
    store.save_checkpoints(NAME, 0, {SERVING: made(2), "before": made(1), "rebuilt": None})
    require_slots(store, NAME, serving=made(2), before=made(1), rebuilt=None)
    store.save_checkpoints(NAME, 0, {SERVING: None, "before": None})
    require_slots(store, NAME, serving=None, before=None, rebuilt=None)
    store.save_checkpoints(NAME, 0, {SERVING: made(3)})
    require_slots(store, NAME, serving=made(3), before=None)


def slots_handed_in_are_not_shared(store: CheckpointStore) -> None:
    """What the writer does with the mapping later does not reach the store."""
    slots: dict[str, Checkpoint | None] = {"a": made(1)}
    store.save_checkpoints(NAME, 0, slots)
    slots.update(a=made(2), b=made(3))
    require_slots(store, NAME, a=made(1), b=None)
    slots.clear()
    require_slots(store, NAME, a=made(1), b=None)


CHECKS = (
    a_name_without_checkpoints_has_none,
    checkpoints_come_back_exactly,
    a_large_checkpoint_comes_back,
    checkpoints_of_any_names_stay_apart,
    a_checkpoint_is_replaced_also_by_one_behind_it,
    other_slots_and_names_stay_as_they_are,
    an_emptied_slot_is_filled_again,
    slots_handed_in_are_not_shared,
)
