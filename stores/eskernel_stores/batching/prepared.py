"""Prepared: a commit ready to be stored, or why it cannot be.

What is wrong with a commit is found here, before it could fail its neighbours in the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from eskernel.contracts import Commit, Fence
from eskernel.errors import EskernelError, NotStorable
from eskernel.values import Row
from eskernel_stores.bounds import LAST
from eskernel_stores.checking import append_id_bytes, check_text, checked_rows

Form = Callable[[Row, bytes], Any]
"""From a sealed event and 16 bytes of append id to what a store keeps; may raise NotStorable."""

Join = Callable[["Prepared"], Any]
"""From a commit, ready but for `whole`, to what a store keeps of it; may raise NotStorable."""

COMMIT_BYTES: Final = 1 << 28
"""Of payloads and metadata, that one commit may have at most."""

_BODY, _HEADER = 3, 4


class Prepared:
    """A commit ready to be stored.

    Attributes:
        index: its place in the batch.
        stream_id: the stream.
        expected: the sequence the stream must be at.
        append_id: 16 bytes, its own or made for it.
        fence: the lease it depends on, or None.
        events: in the form the store keeps them.
        size: bytes of payloads and metadata.
        whole: what the store keeps of the commit, if it keeps its events together; else None.
        error: why it cannot be stored; then it has no events.
    """

    __slots__ = (
        *("append_id", "error", "events", "expected", "fence", "index", "size"),
        *("stream_id", "whole"),
    )

    def __init__(
        self,
        index: int,
        commit: Commit,
        pack: Callable[[Any, str], bytes],
        unpack: Callable[[bytes], Any],
        form: Form,
        join: Join | None = None,
        fence: Fence | None = None,
    ) -> None:
        self.index = index
        self.stream_id, events, self.expected, append_id = commit
        self.append_id = b""
        self.fence: Fence | None = None
        self.events: list[Any] = []
        self.size = 0
        self.whole: Any = None
        self.error: Exception | None = None
        try:
            if fence is not None:
                self.fence = _checked_fence(fence)
            self.append_id = os.urandom(16) if append_id is None else append_id_bytes(append_id)
            rows = checked_rows(self.stream_id, events, self.expected, pack, unpack)
            self.size = _checked_size(rows)
            self.events = [form(row, self.append_id) for row in rows]
            if join is not None:
                self.whole = join(self)
        except (EskernelError, ValueError, TypeError, OverflowError) as error:
            self.error = error
            self.events = []


def _checked_fence(fence: Fence) -> Fence:
    name, epoch = fence
    check_text("fence", name)
    if type(epoch) is not int or not 0 <= epoch <= LAST:
        raise NotStorable("fence", f"the epoch {epoch!r} is no whole number of 0 to {LAST}")
    return Fence(name, epoch)


def _checked_size(rows: Sequence[Row]) -> int:
    size = sum(len(row[_BODY]) + len(row[_HEADER]) for row in rows)
    if size > COMMIT_BYTES:
        raise NotStorable("events", f"{size} bytes are more than {COMMIT_BYTES} in one append")
    return size
