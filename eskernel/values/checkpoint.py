"""Checkpoint and Lease: how far a consumer of the log has come, and whose turn it is."""

from __future__ import annotations

from typing import Final, NamedTuple

SERVING: Final = "serving"
"""The slot in use; a rebuild fills another, and what served before is kept in a third."""


class Checkpoint(NamedTuple):
    """State and position, which are stored together or not at all.

    Attributes:
        position: the last position of the log that was looked at; 0 for none.
        version: of the code that made the state.
        state: packed by `Codec.pack`; empty when the state is kept elsewhere, in tables say.
        notes: packed by `Codec.pack`; what the consumer notes beside its state. May be empty.
        epoch: of the lease it was saved under.
    """

    position: int
    version: str
    state: bytes
    notes: bytes = b""
    epoch: int = 0


class Lease(NamedTuple):
    """Who may save checkpoints of a name.

    Attributes:
        owner: who holds it; whoever asked for it and finds another here must wait.
        epoch: how often it has changed hands, from 1 on. A save under a smaller one is refused.
        seconds: how long it is still valid.
    """

    owner: str
    epoch: int
    seconds: float
