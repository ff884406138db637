"""Progress: how far a projection has come, and what it notes beside its state."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from eskernel.codec import Codec
from eskernel.errors import CorruptStore
from eskernel.projections.ledger import Handled, Ledger
from eskernel.values import Checkpoint, StreamId

_PLAIN = Codec()


class Parked(NamedTuple):
    """An event that a projection could not handle and has put aside.

    Attributes:
        position: its place in the log, where it still is.
        stream_id: its stream.
        sequence: its number in the stream.
        type: its type.
        error: the last error, in words.
        attempts: how often it was tried.
        timestamp: when it was parked, Unix milliseconds.
    """

    position: int
    stream_id: StreamId
    sequence: int
    type: str
    error: str
    attempts: int
    timestamp: int


class Progress(NamedTuple):
    """What is stored with a projection's state, in the same write.

    Attributes:
        position: the last position looked at.
        version: of the module that made the state.
        ledger: what was handled: applied, parked or discarded.
        parked: events put aside, in the order it happened.
        discarded: positions of parked events that were given up.
        generation: how often the state was replaced by other means than the next events.
    """

    position: int
    version: str
    ledger: Ledger = Ledger()
    parked: tuple[Parked, ...] = ()
    discarded: tuple[int, ...] = ()
    generation: int = 0

    @classmethod
    def beginning(cls, position: int, version: str) -> Self:
        """Return the progress of who begins after a position, and has handled nothing before."""
        return cls(position, version, Ledger(Handled(1, position + 1, 0, 0)))

    def moved(self, positions: list[int], reached: int) -> Self:
        """Return the progress after some more events; see `Ledger.after`."""
        return self._replace(position=reached, ledger=self.ledger.after(positions, reached))

    def checkpoint(self, state: bytes) -> Checkpoint:
        """Return what is stored: this progress and the state at it."""
        notes = {
            "ledger": self.ledger.packed(),
            "parked": [list(one) for one in self.parked],
            "discarded": list(self.discarded),
            "generation": self.generation,
        }
        return Checkpoint(self.position, self.version, state, _PLAIN.pack(notes, "notes"))

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return the progress that `checkpoint` made this of.

        Raises:
            CorruptStore: its notes cannot be read.
        """
        if not checkpoint.notes:  # saved by somebody who notes nothing
            return cls.beginning(checkpoint.position, checkpoint.version)
        try:
            notes: dict[str, Any] = _PLAIN.unpack(checkpoint.notes)
            return cls(
                checkpoint.position,
                checkpoint.version,
                Ledger.of(notes["ledger"]),
                tuple(Parked(*one) for one in notes["parked"]),
                tuple(notes["discarded"]),
                notes["generation"],
            )
        except (LookupError, TypeError, ValueError) as error:
            raise CorruptStore(
                f"the notes of a checkpoint at position {checkpoint.position} cannot be read: "
                f"{error!r}; restore a backup, or delete the checkpoint to begin anew"
            ) from error
