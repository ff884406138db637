"""Stores for the checks of the conformance suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Reopening:
    """Opens new stores and, of each, others of the same data.

    Args:
        open_store: opens the store of a URL.
        new_url: returns the URL of an empty store.

    Attributes:
        urls: of all stores opened.
    """

    def __init__(self, open_store: Callable[[str], Any], new_url: Callable[[], str]) -> None:
        self._open_store = open_store
        self._new_url = new_url
        self.urls: dict[Any, str] = {}

    def __call__(self) -> Any:
        return self._open(self._new_url())

    def again(self, store: Any) -> Any:
        """Close a store and open it anew."""
        store.close()
        return self._open(self.urls[store])

    def _open(self, url: str) -> Any:
        store = self._open_store(url)
        self.urls[store] = url
        return store
