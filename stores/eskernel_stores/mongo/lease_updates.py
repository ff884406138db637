"""The rules of `eskernel_stores.leases.Held` as updates that the server makes, by its own clock.

Each is one update of one document, so nobody comes between looking and changing. The clocks of two
servers differ: after an election a lease may run out earlier or later by as much. Epochs do not.
"""

from __future__ import annotations

from typing import Final

from eskernel.values import Lease
from eskernel_stores.leases import Held
from eskernel_stores.mongo.database import NOW, Database, Document, Pipeline
from eskernel_stores.mongo.large import LargeDocuments

NOBODYS: Final[Document] = Held()._asdict()
"""The fields of a lease that nobody has asked for yet."""

_GUARDS: Final[Document] = {"$ifNull": ["$guards", 0]}
_COUNTED: Final[Document] = {"guards": {"$add": [_GUARDS, 1]}}
_NEEDED: Final[Document] = {"$cond": [{"$eq": [_GUARDS, 0]}, "$epoch", "$marked"]}

GUARDING: Final[Pipeline] = [{"$set": {**_COUNTED, "marked": _NEEDED}}]
"""Made by a writer to be sure of the epoch that its append depends on; see `guards`.

The first needs no marker before it, for no append depends on a smaller epoch.
"""

MARKING: Final[Pipeline] = [{"$set": {**_COUNTED, "marked": "$epoch"}}]
"""The same, made by one that has inserted a marker for the epoch."""

RELEASING: Final[Document] = {"$set": {"owner": None, "expires": NOBODYS["expires"]}}
"""Made by the owner, who gives the lease back."""


def documents(database: Database) -> LargeDocuments:
    """Return the documents of names: each has a lease, and the checkpoints that it guards."""
    return LargeDocuments(database, "checkpoints", "slots", ("state", "notes"), NOBODYS)


def acquiring(owner: str, seconds: float) -> Pipeline:
    """Return the update that takes or renews a lease, and notes when; see `Held.acquired`."""
    own = {"$eq": ["$owner", {"$literal": owner}]}
    taken = {
        "owner": {"$literal": owner},
        "epoch": {"$cond": [own, "$epoch", {"$add": ["$epoch", 1]}]},
        # NOW is when a command came in: one that came earlier may be at work later.
        "expires": {"$add": [NOW, float(seconds)]} if seconds else NOBODYS["expires"],
    }
    free = {"$or": [own, {"$eq": ["$owner", None]}, {"$lte": ["$expires", NOW]}]}
    asked = {"$cond": [free, {"$mergeObjects": ["$$ROOT", taken]}, "$$ROOT"]}
    return [{"$replaceWith": asked}, {"$set": {"asked": NOW}}]


def admitting(epoch: int) -> Pipeline:
    """Return what a save changes whose epoch is not too small; see `Held.admitted`."""
    later = {"$lt": ["$epoch", epoch]}
    changed = {
        "owner": {"$cond": [later, None, "$owner"]},
        "expires": {"$cond": [later, NOBODYS["expires"], "$expires"]},
        "epoch": epoch,
    }
    return [{"$set": changed}]


def shown(document: Document) -> Lease:
    """Return the lease that the asker is told of; the document is as `acquiring` has left it."""
    held = Held(document["owner"], document["epoch"], document["expires"])
    return held.shown(document["asked"])


def is_unmarked(document: Document) -> bool:
    """Return whether appends may depend on a smaller epoch, for want of a marker; see `guards`."""
    return bool(document.get("guards", 0) and document["marked"] < document["epoch"])
