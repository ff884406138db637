"""What a writer process says: one line of JSON for each thing, whole even if it is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Final

from eskernel.testing.crash.appends import Append

_PIPE_BUF: Final = 4096
"""Bytes that Linux writes to a pipe all or none; POSIX says 512, which lines keep to if short."""

OPENING, OPENED, DONE, ENDED = "opening", "opened", "done", "ended"
TRY, STORED, REFUSED, DOWN, FAILED = "try", "stored", "refused", "down", "failed"


class Reports:
    """The writing end.

    Args:
        descriptor: of a pipe.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, what: str, *facts: Any) -> None:
        """Write one line; without anybody to read it, the process ends."""
        line = json.dumps([what, *facts]).encode() + b"\n"
        if len(line) > _PIPE_BUF:
            raise ValueError(f"a report of {len(line)} bytes could be torn")
        try:
            os.write(self._descriptor, line)
        except BrokenPipeError:
            os._exit(1)  # nobody waits for this process any more

    def trying(self, appends: Sequence[Append]) -> None:
        """Say that these are about to be handed to the store."""
        self.tell(TRY, appends)

    def stored(self, appends: Sequence[Append], positions: Sequence[int]) -> None:
        """Say that the store acknowledged these."""
        tokens = [append.token for append in appends]
        self.tell(STORED, [*zip(tokens, positions, strict=True)])

    def refused(self, append: Append) -> None:
        """Say that the store refused this one, and so must not hold it."""
        self.tell(REFUSED, append.token)

    def down(self, append: Append, *, outcome_unknown: bool) -> None:
        """Say that the store could not be reached for this one."""
        self.tell(DOWN, append.token, outcome_unknown)

    def failed(self, error: BaseException) -> None:
        """Say what the store should never have raised."""
        self.tell(FAILED, f"{type(error).__name__}: {error}"[:1000])
