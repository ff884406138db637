"""Checkpoint file: a line for what guards a name's checkpoints, and one for each slot.

    {"crc":"5d1e…","name":"balances","epoch":3,"slots":["serving"]}
    {"crc":"b0c2…","name":"balances","slot":"serving","position":8,"version":"v1","epoch":3,
     "state":{"acc-1":100}}

without the breaks. `state` and `notes` are left out when they are empty. It is replaced as a whole,
so that slots change together. Unlike a snapshot it is the truth: what is damaged is neither passed
over nor overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.values import Checkpoint
from eskernel_stores.file.folder import NotSynced, make_folder, replace_file
from eskernel_stores.file.line import Tag, is_whole, sealed_line, tagged_line
from eskernel_stores.file.tagged import Tagger, from_json


class Slots(NamedTuple):
    """What a file holds.

    Attributes:
        epoch: the largest the name has seen.
        lines: of each slot, in order.
    """

    epoch: int
    lines: Mapping[str, bytes]


def write_slots(path: Path, name: str, slots: Slots) -> None:
    """Replace a name's file.

    Raises:
        StoreUnavailable: it cannot be; `outcome_unknown` tells whether it may be all the same.
    """
    head = {"name": name, "epoch": slots.epoch, "slots": [*slots.lines]}
    data = b"".join([sealed_line(head), *slots.lines.values()])
    try:
        make_folder(path.parent)
        replace_file(path, data)
    except NotSynced as error:
        raise StoreUnavailable(f"{error}; it may be stored", outcome_unknown=True) from error
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error}; nothing was stored") from error


def read_slots(path: Path, name: str) -> Slots:
    """Return what a name's file holds, every line proven whole; nothing, if there is none.

    Raises:
        StoreUnavailable: it cannot be read.
        CorruptStore: it is damaged.
    """
    if (found := _lines(path)) is None:
        return Slots(0, {})
    first, *lines = found or [b""]
    epoch, slots = _read_head(first, path, name)
    if len(slots) != len(lines) or not all(map(is_whole, lines)):
        raise _corrupt(path, name, f"its checkpoints are not those it had, {slots}")
    return Slots(epoch, dict(zip(slots, lines, strict=True)))


def read_epoch(path: Path, name: str) -> int:
    """Return the epoch alone; raises as `read_slots`."""
    if (found := _lines(path, 1)) is None:
        return 0
    (first,) = found or [b""]
    return _read_head(first, path, name)[0]


def _lines(path: Path, number: int | None = None) -> list[bytes] | None:
    """Return a file's lines or the first few; None if there is no file."""
    try:
        with path.open("rb") as file:
            return list(islice(file, number))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}") from error


def _read_head(line: bytes, path: Path, name: str) -> tuple[int, list[str]]:
    """Return the epoch and the slots, in order."""
    try:
        if not is_whole(line):
            raise ValueError("it is not as it was written")
        fields = from_json(line.decode())
        if fields["name"] != name:
            raise ValueError(f"it is of {fields['name']!r}")
        return fields["epoch"], fields["slots"]
    except (ValueError, LookupError, TypeError) as error:
        raise _corrupt(path, name, f"its first line cannot be read: {error}") from error


def checkpoint_line(name: str, slot: str, epoch: int, checkpoint: Checkpoint) -> bytes:
    """Return the line of a slot, with an epoch in place of the checkpoint's own."""
    fields = {
        "name": name,
        "slot": slot,
        "position": checkpoint.position,
        "version": checkpoint.version,
        "epoch": epoch,
    }
    packed = {"state": checkpoint.state, "notes": checkpoint.notes}

    def build(tag: Tag) -> dict[str, Any]:
        return {**fields, **{key: tag(data) for key, data in packed.items() if data}}

    return tagged_line("checkpoint", build, Tagger())


def read_checkpoint(path: Path, name: str, slot: str) -> Checkpoint | None:
    """Return the checkpoint in a slot, or None; raises as `read_slots`."""
    line = read_slots(path, name).lines.get(slot)
    if line is None:
        return None
    try:
        return _checkpoint(line, name, slot)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _corrupt(path, name, f"slot {slot!r} cannot be read: {error!r}") from error


def _checkpoint(line: bytes, name: str, slot: str) -> Checkpoint:
    fields = from_json(line.decode())
    if (fields["name"], fields["slot"]) != (name, slot):
        raise ValueError(f"it is slot {fields['slot']!r} of {fields['name']!r}")
    state, notes = (
        Tagger().repack(fields[key]) if key in fields else b"" for key in ("state", "notes")
    )
    return Checkpoint(fields["position"], fields["version"], state, notes, fields["epoch"])


def _corrupt(path: Path, name: str, problem: str) -> CorruptStore:
    return CorruptStore(
        f"the checkpoints of {name!r} in {path} are damaged: {problem}; restore the file from a "
        "backup, or delete it while the store is closed, to begin anew"
    )
