"""Pages: events read from the log, as many at once as can be handled in a short time."""

from __future__ import annotations

from collections.abc import Iterator
from operator import length_hint
from typing import Final

from eskernel.contracts import EventStore
from eskernel.errors import EskernelError, StoreUnavailable
from eskernel.projections.definition import Definition
from eskernel.values import Event, Range

LARGEST: Final = 4000
SMALLEST: Final = 16
_POSITION: Final = Event._fields.index("position")


class Pages:
    """Reads what a projection wants to see of the log.

    Attributes:
        size: events that are read at once.

    Args:
        definition: says which events are wanted.
        store: the log.
        seconds: how long handling a page should take.
    """

    def __init__(self, definition: Definition, store: EventStore, seconds: float) -> None:
        self.size = SMALLEST
        self._definition = definition
        self._store = store
        self._seconds = seconds

    def read(self, range: Range, limit: int) -> tuple[list[Event], int]:
        """Return events of a range, and the last position looked at; as `fold_all`.

        Raises:
            StoreUnavailable: also for whatever a store should not have raised.
            CorruptStore: the log is damaged.
        """
        definition = self._definition
        events: list[Event] = []
        try:
            _, reached = self._store.fold_all(
                _collect,
                events,
                range,
                limit=limit,
                types=definition.event_types,
                aggregate_types=definition.aggregate_types,
            )
        except EskernelError:
            raise
        except Exception as error:
            raise StoreUnavailable.because(error, outcome_unknown=False) from error
        return events, reached

    def adapt(self, count: int, handling: float) -> None:
        """Choose the next page's size, at most twice the present one.

        Args:
            count: events that were handled.
            handling: the seconds it took.
        """
        fitting = int(count * self._seconds / handling) if count and handling > 0 else LARGEST
        self.size = max(1, min(fitting, self.size * 2, LARGEST))


def taken(events: list[Event], rest: Iterator[Event]) -> int:
    """Return how many events an iterator over a list has handed out."""
    return len(events) - length_hint(rest)


def positions(events: list[Event]) -> list[int]:
    """Return the positions of events that were read from the log."""
    return [event[_POSITION] for event in events]  # type: ignore[misc]  # they have one


def _collect(events: list[Event], event: Event) -> list[Event]:
    events.append(event)
    return events
