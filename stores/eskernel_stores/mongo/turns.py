"""Turns: how writers of several processes let each other append.

A writer that has just appended knows the log's end, and one that was refused must ask for it first,
so a busy writer would win every time. Therefore one that is refused again and again says so, by a
document of its own in the collection `waiting`, and the others let it go first. Nothing but
fairness depends on these documents; one whose owner has died is waited for once, and deleted.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

from eskernel.errors import StoreUnavailable
from eskernel_stores.mongo.database import Database, Documents

REFUSALS: Final = 2
"""In a row, after which a writer says that it waits: one shows only that its end was old."""

PATIENCE: Final = 0.5
"""Seconds to let another go first."""

_LOOK: Final = 0.1  # seconds between looks for others who wait
_REMEMBERED: Final = 1.0  # seconds after a refusal in which to look every time
_POLL: Final = 0.005  # seconds between looks while one waits
_LONGEST: Final = 0.05  # seconds of a pause after a refusal
_FIRST: Final = 0.0005  # seconds of the first such pause; doubled with every refusal in a row


class Turns:
    """When one store may try to append; used by one thread at a time.

    Args:
        database: where the log is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name = uuid4().hex
        self._refusals = 0  # in a row
        self._is_waiting = False  # whether there may be a document that says so
        self._refused = self._looked = -_REMEMBERED  # when last; when last looked for others

    def wait(self) -> bool:
        """Wait until this store may try.

        Returns:
            Whether others went first, so that the log's end has moved.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        if self._is_waiting:
            longest = min(_FIRST * 2**self._refusals, _LONGEST)
            time.sleep(random.uniform(0, longest))  # noqa: S311 - guards no secret
            return False
        now = time.monotonic()
        if now - self._refused > _REMEMBERED and now - self._looked < _LOOK:
            return False
        self._looked = now
        first = self._others()
        if first:
            self._let_go(first)
        return bool(first)

    def lost(self) -> None:
        """Take note of an insert that was refused because another writer was first.

        Raises:
            StoreUnavailable: the servers cannot be reached.
        """
        self._refused = time.monotonic()
        self._refusals += 1
        if self._refusals % REFUSALS == 0:  # again, in case that others have lost patience
            self._is_waiting = True
            with self._database.translating(writing=False):
                says = {"$set": {"waits": True}}
                self._waiting().update_one({"_id": self._name}, says, upsert=True)

    def won(self) -> None:
        """Take note of an insert."""
        self._refusals = 0
        if self._is_waiting:
            with suppress(StoreUnavailable):  # others lose patience
                self._delete([self._name])
                self._is_waiting = False

    def _let_go(self, others: set[Any]) -> None:
        """Wait until others have appended, or patience is at its end."""
        deadline = time.monotonic() + PATIENCE
        while others := others & self._others():
            if time.monotonic() > deadline:
                self._delete([*others])
                return
            time.sleep(_POLL)

    def _others(self) -> set[Any]:
        """Return the names of the other writers that wait."""
        with self._database.translating(writing=False):
            return {one["_id"] for one in self._waiting().find()} - {self._name}

    def _delete(self, names: list[Any]) -> None:
        with self._database.translating(writing=False):
            self._waiting().delete_many({"_id": {"$in": names}})

    def _waiting(self) -> Documents:
        return self._database.collection("waiting")
