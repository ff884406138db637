"""Checkpoints: one document for a name, with its lease and all of its slots, changed as a whole.

Every change is one update of that document, so it needs no transaction: the server admits the
epoch, ends an older lease and replaces the slots in one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pymongo.read_concern import ReadConcern

from eskernel.errors import CorruptStore, NotStorable, StaleEpoch, StoreUnavailable
from eskernel.values import Checkpoint
from eskernel_stores.mongo import lease_updates
from eskernel_stores.mongo.database import Database, Document
from eskernel_stores.mongo.large import INLINE, TOGETHER, Missing, Parts, TooLarge
from eskernel_stores.mongo.large.values import Large
from eskernel_stores.mongo.leases import MongoLeases

_LATEST: Final = ReadConcern("linearizable")
"""A primary that does not know yet that it was deposed must not answer with an old checkpoint."""


class MongoCheckpoints:
    """The checkpoints of a CheckpointStore, in a collection.

    Args:
        database: keeps them in its collection `checkpoints`.
        leases: of the same documents.
    """

    def __init__(self, database: Database, leases: MongoLeases) -> None:
        self._database = database
        self._leases = leases
        self._names = lease_updates.documents(database)

    def load(self, name: str, slot: str) -> Checkpoint | None:
        """Return the checkpoint in a slot; see `CheckpointStore.load_checkpoint`."""
        try:
            found = self._names.read(lambda: self._entry(name, slot))
        except Missing as error:
            raise CorruptStore(
                f"pieces of the checkpoint of {name} in {slot} are missing; "
                "restore the collection chunks from a backup, or have it rebuilt"
            ) from error
        if found is None:
            return None
        entry, (state, notes) = found
        return Checkpoint(entry["position"], entry["version"], state, notes, entry["epoch"])

    def save(self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
        """Replace checkpoints; see `CheckpointStore.save_checkpoints`."""
        try:
            self._save(name, epoch, slots, INLINE)
        except TooLarge:  # together with those of other slots
            self._save_large(name, epoch, slots)

    def _save_large(self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
        try:
            self._save(name, epoch, slots, 0)
        except TooLarge as error:
            raise NotStorable(
                "slots", f"all of {name} together need more than MongoDB's 16 MB: use fewer"
            ) from error

    def _save(
        self, name: str, epoch: int, slots: Mapping[str, Checkpoint | None], inline: int
    ) -> None:
        def refuse(found: Document) -> None:
            if found["epoch"] > epoch:
                raise StaleEpoch(name, epoch, found["epoch"])

        entries, large = self._entries(epoch, slots, inline)
        found = self._names.replace(
            name,
            _replaced([*slots], entries),
            large,
            condition={"epoch": {"$lte": epoch}},
            also=lease_updates.admitting(epoch),
            refuse=refuse,
        )
        try:
            self._leases.mark([found])
        except StoreUnavailable as error:
            raise StoreUnavailable(str(error), outcome_unknown=True) from error

    def _entries(
        self, epoch: int, slots: Mapping[str, Checkpoint | None], inline: int
    ) -> tuple[list[Document], list[tuple[Large, Parts]]]:
        """Return the entries of slots, and the large values that are still to be written."""
        entries: list[Document] = []
        large: list[tuple[Large, Parts]] = []
        left = TOGETHER
        for slot, one in slots.items():
            if one is None:
                continue
            value = (one.state, one.notes)
            entry = {"slot": slot, "position": one.position, "version": one.version, "epoch": epoch}
            entry, pointed_at = self._names.filled(entry, value, min(inline, left))
            left -= 0 if pointed_at else sum(map(len, value))
            entries.append(entry)
            large += pointed_at
        return entries, large

    def _entry(self, name: str, slot: str) -> Document | None:
        only = {"slots": {"$elemMatch": {"slot": slot}}}
        with self._database.translating(writing=False):
            names = self._names.collection().with_options(read_concern=_LATEST)
            found = names.find_one({"_id": name}, only)
        slots = found.get("slots") if found else None
        return slots[0] if slots else None


def _replaced(slots: list[str], entries: list[Document]) -> Document:
    """Return the expression for a document's slots with some of them replaced."""
    others = {"$not": [{"$in": ["$$this.slot", {"$literal": slots}]}]}
    kept = {"$filter": {"input": "$slots", "cond": others}}
    return {"$concatArrays": [kept, {"$literal": entries}]}
