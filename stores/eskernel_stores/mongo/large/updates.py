"""Updates of a document's list of large values that no entry points at; see `documents`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from eskernel_stores.mongo.database import NOW, Document, Pipeline
from eskernel_stores.mongo.large.values import Large

PATIENCE: Final = 600.0
"""Seconds that a writer has between announcing a value and pointing at it."""


def announcing(large: Sequence[Large]) -> Pipeline:
    """Return the update that puts values on the list, once even if it is sent twice."""
    others = _filtered("$loose", {"$not": [{"$in": ["$$this.value", _ids(large)]}]})
    added = [_listed(one.value, one.pieces, dead=False) for one in large]
    return [{"$set": {"loose": {"$concatArrays": [others, added]}}}]


def announced(large: Sequence[Large]) -> Document:
    """Return the condition that values are on the list, and not dead."""
    alive = [{"loose": {"$elemMatch": {"value": one.value, "dead": False}}} for one in large]
    return {"$and": alive} if alive else {}


def pointing(field: str, entries: Any, large: Sequence[Large]) -> Pipeline:
    """Return the update that replaces entries, and keeps the list true to them.

    Args:
        field: the document's array of entries.
        entries: an expression for the array as it shall be.
        large: the values that were announced for it, which leave the list.
    """
    large_now = _mapped(f"${field}", "$$this.large.value")  # null for an entry with none
    unused = {"$not": [{"$in": ["$$this.value", large_now]}]}
    given_up = {
        "$or": [
            "$$this.dead",
            {"$in": ["$$this.value", _ids(large)]},  # for an entry that was not worth keeping
            {"$lt": ["$$this.since", {"$subtract": [NOW, PATIENCE]}]},
        ]
    }
    left = _mapped(_filtered("$loose", unused), {"$mergeObjects": ["$$this", {"dead": given_up}]})
    replaced = _mapped(
        _filtered("$was", {"$and": ["$$this", unused]}),
        _listed("$$this.value", "$$this.pieces", dead=True),
    )
    return [
        {"$set": {"was": _mapped(f"${field}", "$$this.large")}},
        {"$set": {field: entries}},
        {"$set": {"loose": {"$concatArrays": [left, replaced]}}},
        {"$unset": "was"},
    ]


def _listed(value: str, pieces: Any, *, dead: bool) -> Document:
    return {"value": value, "pieces": pieces, "since": NOW, "dead": {"$literal": dead}}


def _ids(large: Sequence[Large]) -> list[str]:
    return [one.value for one in large]


def _filtered(array: str, condition: Any) -> Document:
    return {"$filter": {"input": array, "cond": condition}}


def _mapped(array: Any, expression: Any) -> Document:
    return {"$map": {"input": array, "in": expression}}
