"""Bound: a projection as it was registered, checked and ready to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from eskernel.contracts import CheckpointStore
from eskernel.errors import InvalidProjection
from eskernel.projections.definition import Definition, Unpack
from eskernel.projections.options import Projection
from eskernel.projections.read_model import RebuildableModel
from eskernel.projections.state_model import StateModel

_SHORTEST_PATIENCE: Final = 1.0  # seconds


class Bound(NamedTuple):
    """A projection, how it is run, and where.

    Attributes:
        definition: its module.
        options: how it is run.
        store: where its checkpoints are.
    """

    definition: Definition
    options: Projection
    store: CheckpointStore

    @property
    def key(self) -> str:
        """The name of its checkpoints and its lease."""
        return f"projection/{self.definition.name}"

    def new_model(self) -> RebuildableModel:
        """Return a read model for it.

        Raises:
            InvalidProjection: it has tables, and the store keeps none.
        """
        definition = self.definition
        if definition.tables:
            # Only who has tables imports SQLAlchemy.
            from eskernel.projections.tables import TableModel  # noqa: PLC0415

            patience = max(_SHORTEST_PATIENCE, self.options.lease_seconds)
            return TableModel(definition, self.store, self.key, patience=patience)
        return StateModel(definition, self.store, self.key)


def bind(
    projections: Any, unpackers: Mapping[str, Unpack], stores: tuple[Any, ...]
) -> dict[str, Bound]:
    """Return the projections a kernel was given, checked.

    Args:
        projections: from name to module, or to `Projection`.
        unpackers: by aggregate type, what decodes its payloads.
        stores: those that may keep checkpoints, the preferred one first; None among them for none.

    Raises:
        TypeError: `projections` is no mapping.
        InvalidProjection: one of them is none, or there is nowhere to keep its checkpoints.
    """
    if not isinstance(projections, Mapping):
        raise TypeError(
            'projections must be a mapping such as {"balances": balances}, '
            f"not {type(projections).__name__}"
        )
    bound: dict[str, Bound] = {}
    for name, given in projections.items():
        options = given if isinstance(given, Projection) else Projection(given)
        definition = Definition(name, options.module, unpackers)
        store = checkpoints_of(f"projection {name!r}", (options.store, *stores))
        bound[name] = Bound(definition, options, store)
        bound[name].new_model().close()  # or say now what is wrong with it
    _check_tables(bound.values())
    return bound


def _check_tables(bound: Iterable[Bound]) -> None:
    """Raise InvalidProjection if two projections have one table."""
    owners: dict[tuple[int, str], str] = {}
    for one in bound:
        name = one.definition.name
        for table in one.definition.tables:
            owner = owners.setdefault((id(one.store), table.fullname), name)
            if owner != name:
                raise InvalidProjection(
                    f"projections {owner!r} and {name!r} both have a table {table.fullname!r}; "
                    "give one of them another name"
                )


def checkpoints_of(what: str, stores: tuple[Any, ...]) -> CheckpointStore:
    """Return the first store that is given, if it keeps checkpoints.

    Raises:
        InvalidProjection: it does not.
    """
    store = next((one for one in stores if one is not None), None)
    if isinstance(store, CheckpointStore):
        return store
    raise InvalidProjection(
        f"{what}: {type(store).__name__} keeps no checkpoints; name a store that does, "
        "such as Kernel(..., checkpoint_store=open_store('sqlite:///views.db'))"
    )
