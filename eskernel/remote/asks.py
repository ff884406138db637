"""Asks: the questions that kernels in other processes answer, by name.

Each is a function of the kernel, the wire and the arguments that came; what it returns, or raises,
goes back. Arguments and answers are plain values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from eskernel.errors import KernelStopped
from eskernel.remote.failures import failure_to_fields
from eskernel.remote.outcomes import accepted_to_fields
from eskernel.remote.paths import import_object
from eskernel.remote.trees import node_to_fields

if TYPE_CHECKING:
    from eskernel.actors.consuming.projecting import RunningProjection
    from eskernel.kernel import Kernel
    from eskernel.remote.wire import Wire


def _state_of(
    kernel: Kernel, wire: Wire, aggregate_type: str, aggregate_id: str, timeout: float
) -> Any:
    state, sequence = kernel.state_of(aggregate_type, aggregate_id, timeout=timeout)
    return wire.domains[aggregate_type].pack(state, "state"), sequence


def _outcome_of(
    kernel: Kernel,
    _: Wire,
    aggregate_type: str,
    aggregate_id: str,
    command_id: str,
    timeout: float,
) -> Any:
    accepted = kernel.outcome_of(aggregate_type, aggregate_id, command_id, timeout=timeout)
    return None if accepted is None else accepted_to_fields(accepted)[1]


def _live_aggregates(kernel: Kernel, _: Wire) -> Any:
    return kernel.live_aggregates()


def _tree(kernel: Kernel, _: Wire, max_aggregates: int) -> Any:
    try:
        return node_to_fields(kernel.tree(max_aggregates=max_aggregates))
    except KernelStopped:
        return None


def _projection(kernel: Kernel, wire: Wire, name: str, what: str, *arguments: Any) -> Any:
    return _OF_PROJECTIONS[what](kernel.projection(name), wire, *arguments)


ASKS: Final[dict[str, Callable[..., Any]]] = {
    "state_of": _state_of,
    "outcome_of": _outcome_of,
    "live_aggregates": _live_aggregates,
    "tree": _tree,
    "projection": _projection,
}
"""By name."""


def _seen(projection: RunningProjection, _: Wire) -> Any:
    error, rebuild = projection.error, projection.rebuilding
    return {
        "position": projection.position,
        "status": projection.status.value,
        "error": None if error is None else failure_to_fields(error),
        "active": projection.active,
        "parked": [tuple(one) for one in projection.parked],
        "version": projection.version,
        "rebuilding": rebuild
        and (
            rebuild.position,
            rebuild.target,
            None if rebuild.error is None else failure_to_fields(rebuild.error),
        ),
    }


def _read(projection: RunningProjection, wire: Wire, path: str | None, timeout: float) -> Any:
    function = (lambda state: state) if path is None else import_object(path)
    return wire.projections[projection.name].pack(projection.read(function, timeout=timeout))


def _wait_for(projection: RunningProjection, _: Wire, position: int | None, timeout: float) -> Any:
    projection.wait_for(position, timeout)


def _audit(projection: RunningProjection, _: Wire, full: bool) -> Any:
    found = projection.audit(full=full)
    discrepancies = tuple(map(tuple, found.discrepancies))
    return tuple(found._replace(discrepancies=discrepancies))  # type: ignore[arg-type]


_OF_PROJECTIONS: Final[dict[str, Callable[..., Any]]] = {
    "seen": _seen,
    "lag": lambda projection, _: projection.lag,
    "read": _read,
    "wait_for": _wait_for,
    "audit": _audit,
    "retry": lambda projection, _, position: projection.retry(position),
    "discard": lambda projection, _, position: projection.discard(position),
    "resume": lambda projection, _: projection.resume(),
    "rebuild": lambda projection, _: projection.rebuild(),
    "cancel_rebuild": lambda projection, _: projection.cancel_rebuild(),
    "rollback": lambda projection, _: projection.rollback(),
}
