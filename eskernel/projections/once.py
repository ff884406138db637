"""Running a projection once over a store, without a kernel."""

from __future__ import annotations

from typing import Any

from eskernel.contracts import EventStore
from eskernel.errors import InvalidProjection
from eskernel.projections.definition import Definition
from eskernel.values import Event, Range


def project(module: Any, store: EventStore, range: Range = Range()) -> tuple[Any, int]:  # noqa: B008 - immutable
    """Fold a projection over a store's log, and store nothing.

    Args:
        module: a projection with a state; see `Definition`.
        store: the log. Dataclass payloads need the store's `types`, as there is no kernel.
        range: the positions wanted.

    Returns:
        The state, and the last position looked at.

    Raises:
        InvalidProjection: the module is none, or keeps tables.
        StoreUnavailable, CorruptStore: the store's.
        Exception: whatever the module raises.
    """
    definition = Definition("projection", module)
    if definition.tables:
        raise InvalidProjection(
            "a projection with tables has no state to return; run it in a Kernel"
        )

    def handle(state: Any, event: Event) -> Any:
        return definition.handle_event(event, state) if definition.wants(event) else state

    return store.fold_all(
        handle,
        definition.init(),
        range,
        types=definition.event_types,
        aggregate_types=definition.aggregate_types,
    )
