"""What can be wrong with a document, or with a large value of it."""

from __future__ import annotations

from eskernel_stores.mongo.database import Document


class TooLarge(Exception):
    """The document would be larger than the server takes; nothing was changed."""


class Missing(Exception):
    """Pieces of an entry's value are missing.

    Attributes:
        entry: the entry.
    """

    def __init__(self, entry: Document) -> None:
        super().__init__(f"pieces of {entry} are missing")
        self.entry = entry
