"""Failing: what becomes of an event whose handler raises."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Final

from eskernel.projections.options import Projection
from eskernel.projections.progress import Parked
from eskernel.values import Event

_JITTER: Final = 0.25
_LONGEST_ERROR: Final = 1000  # characters


class Failure:
    """An event that has failed and will be tried again.

    Attributes:
        event: which one.
        error: what its handler raised last.
        attempts: how often it was tried.
        retry_at: when it is tried again, on the monotonic clock.

    Args:
        event, error, retry_at: as above.
    """

    def __init__(self, event: Event, error: Exception, retry_at: float) -> None:
        self.event = event
        self.error = told(event, error)
        self.attempts = 1
        self.retry_at = retry_at

    @property
    def position(self) -> int:
        """The event's place in the log."""
        assert self.event.position is not None, "it was read from the log"
        return self.event.position

    def parked(self, timestamp: int) -> Parked:
        """Return the event as it is put aside."""
        event = self.event
        return Parked(
            self.position,
            event.stream_id,
            event.sequence,
            event.type,
            in_words(self.error),
            self.attempts,
            timestamp,
        )


def told(event: Event, error: Exception) -> Exception:
    """Return an error that says, in a note if it takes one, which event it met."""
    stream_id, sequence = event[:2]
    note = f"event {sequence} of {stream_id}, at position {event.position}, was being handled"
    with suppress(Exception):  # a frozen dataclass takes none, and no event may go unjudged for it
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    return error


def in_words(error: BaseException) -> str:
    """Return an error's type and message, shortened if need be."""
    text = type(error).__name__
    with suppress(Exception):  # a message that cannot be had keeps no event from being parked
        text = f"{text}: {error}"
    # Lone surrogates could not be stored.
    clean = text.encode(errors="backslashreplace").decode()
    return clean if len(clean) <= _LONGEST_ERROR else clean[: _LONGEST_ERROR - 1] + "…"


def delay(options: Projection, attempts: int, rng: random.Random) -> float:
    """Return the seconds to wait after so many attempts: doubling, scattered a little."""
    full = options.first_retry * 2.0 ** min(attempts - 1, 60)
    return float(min(full, options.longest_retry) * (1 - _JITTER * rng.random()))
