"""Attempts: one request after another until one is answered, or the time is over."""

from __future__ import annotations

import asyncio
from typing import Final

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.replies import ApiError
from eskernel_stores.jetstream.connecting.wire import Lost, Wire
from eskernel_stores.jetstream.connecting.wires import Wires

NOT_YET: Final = frozenset((10008, 10009, 10163, 10176, 10210))
"""Error codes: worth another attempt. There was no leader, or there were too many batches."""

_LEADERLESS: Final = frozenset((10008, 10009))
"""Of these, what a server says for as long as it is cut off from the others."""

_LONGEST: Final = 1.0  # seconds to wait for an answer to a question before it is asked again
_PAUSE: Final = 0.05  # seconds between two attempts


class Attempts:
    """The attempts at one thing; for the thread of the wires' loop.

    Args:
        wires: to the servers.
        timeout: seconds for all of them.
        publishing: whether an attempt that is refused for now may have been stored all the same:
            a leader that there is no more refuses it, while another stores it.
    """

    def __init__(self, wires: Wires, timeout: float, *, publishing: bool = False) -> None:
        self._wires = wires
        self._timeout = timeout
        self._deadline = _now() + timeout
        self._publishing = publishing
        self._in_doubt = False  # an attempt may have been stored
        self._begun = 0.0  # when the last attempt was

    @property
    def left(self) -> float:
        """Seconds until the time is over, at least 0."""
        return max(self._deadline - _now(), 0.0)

    @property
    def patience(self) -> float:
        """Seconds to wait in one attempt of several."""
        return min(self.left, _LONGEST)

    async def begin(self) -> Wire:
        """Return a wire for another attempt; raises StoreUnavailable if there is none in time."""
        try:
            wire = await self._wires.get(self._deadline)
        except StoreUnavailable as error:
            if self._in_doubt:
                raise StoreUnavailable.because(error, outcome_unknown=True) from error
            raise
        self._begun = _now()
        return wire

    def answered(self, wire: Wire) -> None:
        """Note that a server is of use."""
        self._wires.note_answer(wire)

    async def failed(self, wire: Wire, error: Exception | None = None) -> None:
        """Note that an attempt came to nothing, and wait a little before another.

        Args:
            wire: on which it was made.
            error: Lost or TimeoutError; None if nobody was there to answer.

        Raises:
            StoreUnavailable: there is no time for another.
        """
        if not isinstance(error, Lost):
            self._wires.note_silence(wire, self._begun)
        if self.left <= _PAUSE:
            raise self._unanswered(wire, unknown=self._in_doubt) from error
        await asyncio.sleep(_PAUSE)

    async def not_yet(self, wire: Wire, error: ApiError) -> None:
        """Wait a little before another attempt at what was refused for now; raises as `failed`."""
        if error.err_code in _LEADERLESS:
            self._wires.note_silence(wire, self._begun)
        else:
            self.answered(wire)
        self._in_doubt = self._publishing
        if self.left <= _PAUSE:
            raise StoreUnavailable.because(error, outcome_unknown=self._in_doubt) from error
        await asyncio.sleep(_PAUSE)

    def timed_out(self, wire: Wire) -> StoreUnavailable:
        """Note that an attempt was not answered, and return that its outcome is unknown."""
        self._wires.note_silence(wire, self._begun)
        return self._unanswered(wire, unknown=True)

    def _unanswered(self, wire: Wire, *, unknown: bool) -> StoreUnavailable:
        problem = f" ({wire.problem})" if wire.problem else ""
        return StoreUnavailable(
            f"no answer of JetStream's within {self._timeout} seconds{problem}; "
            + (
                "it may be stored, repeat with the same command_id"
                if unknown
                else "nothing was stored, try again; is JetStream enabled, and do most servers run?"
            ),
            outcome_unknown=unknown,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
