"""Reading the log."""

from __future__ import annotations

from collections.abc import Collection

from eskernel.contracts import EventStore
from eskernel.testing.conformance.folding import RANGES
from eskernel.testing.conformance.tools import add, log_of, page_of, require, require_equal
from eskernel.values import Event, Range

_TYPES = ("opened", "Opened", "closed")
_AGGREGATES = ("account", "Account", "order")
_FILTERS: tuple[dict[str, Collection[str]], ...] = (
    {},
    {"types": {"opened"}},
    {"types": ["closed", "Opened", "unheard of"]},
    {"aggregate_types": ("account",)},
    {"aggregate_types": frozenset({"Account", "order"})},
    {"types": ("opened", "closed"), "aggregate_types": {"order", "account"}},
    {"types": ["unheard of"]},
    {"types": ()},
    {"aggregate_types": set()},
    {"types": {"account"}, "aggregate_types": {"opened"}},
)


def _fill(store: EventStore) -> list[Event]:
    """Store 54 events of three types in nine streams of three aggregate types; return the log."""
    for sequence in range(0, 6, 2):
        for number, aggregate_type in enumerate(_AGGREGATES):
            for aggregate_id, event_type in enumerate(_TYPES):
                stream_id = (aggregate_type, str(aggregate_id))
                payloads = (number, sequence)
                add(store, stream_id, sequence, *payloads, type=event_type)
    log = log_of(store)
    require_equal(len(log), 54, "events in the log")
    return log


def _matches(
    event: Event,
    types: Collection[str] | None = None,
    aggregate_types: Collection[str] | None = None,
) -> bool:
    return (types is None or event.type in types) and (
        aggregate_types is None or event.stream_id[0] in aggregate_types
    )


def require_read(
    store: EventStore,
    log: list[Event],
    wanted: Range,
    limit: int | None,
    **filters: Collection[str],
) -> None:
    """Require that the page asked for has the events of `log` it should, and reaches its end."""
    inside = [event for event in log if wanted.contains(event.position or 0)][:limit]
    reached = inside[-1].position if inside else max(wanted.start - 1, 0)
    expected = [event for event in inside if _matches(event, **filters)]
    what = f"range {tuple(wanted)}, limit {limit}, {filters}"
    found = page_of(store, wanted, limit, **filters)
    require_equal(found[0], expected, f"events of {what}")
    require_equal(found[1], reached, f"position reached of {what}")


def the_log_is_read_in_position_order(store: EventStore) -> None:
    """Every event of every stream, once, with the position it was given."""
    log = _fill(store)
    positions = [event.position or 0 for event in log]
    require_equal(positions, sorted(set(positions)), "positions")
    streams = {event.stream_id for event in log}
    require_equal(len(streams), 9, "streams in the log")


def fold_all_reads_the_range_asked_for(store: EventStore) -> None:
    """Positions from start up to, not including, stop; the position reached is the last one's."""
    log = _fill(store)
    inner = [Range(log[at].position or 0, log[at + 9].position) for at in range(0, 40, 7)]
    for wanted in (*RANGES, *inner):
        require_read(store, log, wanted, None)


def fold_all_filters_by_type_and_aggregate_type(store: EventStore) -> None:
    """Both must match, exactly; an empty collection matches nothing; filtered ones are reached."""
    log = _fill(store)
    for filters in _FILTERS:
        for wanted in (Range(), Range(7), Range(10, 31), Range(99)):
            require_read(store, log, wanted, None, **filters)


def limit_counts_filtered_events_too(store: EventStore) -> None:
    """It bounds the events looked at, so that a reader of few types still pauses."""
    log = _fill(store)
    for filters in _FILTERS:
        for limit in (0, 1, 2, 7, 53, 54, 55, 10_000):
            require_read(store, log, Range(), limit, **filters)
            require_read(store, log, Range(11, 29), limit, **filters)


def position_reached_of_nothing_is_just_before_the_range(store: EventStore) -> None:
    """In an empty log, past the end, in an empty range and with limit 0; never below 0."""
    for start in (0, 1, 2, 500):
        for wanted in (Range(start), Range(start, start), Range(start, start + 3)):
            require_read(store, [], wanted, None)
    log = _fill(store)
    end = store.last_position()
    for start in (0, 1, 5, end, end + 1, end + 2, end + 500):
        require_read(store, log, Range(start), 0)
        require_read(store, log, Range(start, start), None)
        require_read(store, log, Range(start, 1), None, types={"opened"})


def paging_through_the_log_meets_each_event_once(store: EventStore) -> None:
    """Whatever the page size and the filter; the log's end is reached exactly."""
    log = _fill(store)
    for filters in _FILTERS:
        expected = [event for event in log if _matches(event, **filters)]
        for limit in (1, 5, 54, 55):
            found: list[Event] = []
            reached, end = 0, store.last_position()
            while reached < end:
                before = reached
                page, reached = page_of(store, Range(before + 1), limit, **filters)
                found += page
                require(before < reached <= end, f"after {before}, not {end}, came {reached}")
            require_equal(found, expected, f"pages of {limit}, {filters}")


CHECKS = (
    the_log_is_read_in_position_order,
    fold_all_reads_the_range_asked_for,
    fold_all_filters_by_type_and_aggregate_type,
    limit_counts_filtered_events_too,
    position_reached_of_nothing_is_just_before_the_range,
    paging_through_the_log_meets_each_event_once,
)
