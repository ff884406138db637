"""StateModel: a read model that is one value in memory, stored whole with its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from eskernel.contracts import CheckpointStore
from eskernel.errors import InvalidProjection
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.values import SERVING, Checkpoint, Event

_ABSENT = object()


class _Kept(NamedTuple):
    """What the last commit kept, in memory too: to go back to without asking the store."""

    body: bytes
    progress: Progress


class StateModel:
    """The state of a projection with `init` and `handle_event(event, state)`.

    Handlers may change their state in place, so after one that failed the state is made again from
    the last commit. A process without the lease follows the log with a state of its own and
    stores nothing.

    Args:
        definition: the module.
        store: where commits go.
        key: the name they are stored under.
    """

    undoes = True
    eager = False
    opening = 0.0
    shared = False

    def __init__(self, definition: Definition, store: CheckpointStore, key: str) -> None:
        self._definition = definition
        self._store = store
        self._key = key
        self._states: dict[str, Any] = {}
        self._kept: dict[str, _Kept] = {}

    def load(self, slot: str) -> Progress | None:
        """Make what is stored current; see `ReadModel.load`."""
        self._states.pop(slot, None)
        self._kept.pop(slot, None)
        stored = self._store.load_checkpoint(self._key, slot)
        if stored is None:
            return None
        progress = Progress.of(stored)
        self._kept[slot] = _Kept(stored.state, progress)
        return progress

    def peek(self, slot: str) -> Progress | None:
        """Return the progress that is stored."""
        stored = self._store.load_checkpoint(self._key, slot)
        return None if stored is None else Progress.of(stored)

    def begin(self, slot: str, progress: Progress) -> None:
        """Make `init()` current."""
        state = self._definition.init()
        self._kept[slot] = _Kept(self._definition.codec.pack(state, "state"), progress)
        self._states[slot] = state

    def handle(self, slot: str, events: Iterator[Event]) -> None:
        """Let the module handle events."""
        handle = self._definition.handle_event
        state = self._state(slot)
        for event in events:
            before, state = state, handle(event, state)
            if state is None and before is not None:
                raise InvalidProjection(
                    f"projection {self._definition.name!r}: handle_event returned None; "
                    "return the state, also when nothing changes"
                )
        self._states[slot] = state

    def is_awaited(self) -> bool:
        """Return False: nobody waits for a state in memory."""
        return False

    def commit(self, slot: str, progress: Progress, epoch: int | None) -> None:
        """Keep the state, and with a lease store it; see `ReadModel.commit`."""
        body = self._definition.codec.pack(self._state(slot), "state")
        self._kept[slot] = _Kept(body, progress)
        if epoch is not None:
            self._store.save_checkpoints(self._key, epoch, {slot: progress.checkpoint(body)})

    def undo(self, slot: str) -> Progress:
        """Go back to the last commit, stored or not."""
        self._states.pop(slot, None)
        return self._kept[slot].progress

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def promote(self, serving: Progress, building: Progress, epoch: int) -> None:  # noqa: ARG002
        """Let what was built serve; see `ReadModel.promote`."""
        slots = {
            PREVIOUS: self._kept_as_it_is(),
            SERVING: building.checkpoint(self._kept[BUILDING].body),
            BUILDING: None,
        }
        self._store.save_checkpoints(self._key, epoch, slots)
        self._kept[SERVING] = _Kept(self._kept.pop(BUILDING).body, building)
        self._states[SERVING] = self._states.pop(BUILDING, _ABSENT)

    def roll_back(self, serving: Progress, previous: Progress, epoch: int) -> None:  # noqa: ARG002
        """Exchange what serves and what served before; see `ReadModel.roll_back`."""
        stored = self._store.load_checkpoint(self._key, PREVIOUS)
        assert stored is not None, "the caller has looked"
        slots = {
            PREVIOUS: self._kept_as_it_is(),
            SERVING: previous.checkpoint(stored.state),
        }
        self._store.save_checkpoints(self._key, epoch, slots)
        self._kept[SERVING] = _Kept(stored.state, previous)
        self._states.pop(SERVING, None)

    def _kept_as_it_is(self) -> Checkpoint | None:
        """Return what serves, with its own progress: of a save that failed, it is the newer one."""
        kept = self._kept.get(SERVING)
        return None if kept is None else kept.progress.checkpoint(kept.body)

    def read(self, function: Any) -> Any:
        """Return a copy of `function(state)`.

        Raises:
            NotStorable: what the function returns cannot be copied, because it cannot be stored.
        """
        codec = self._definition.codec
        return codec.unpack(codec.pack(function(self._state(SERVING)), "what was read"))

    def drop(self, slot: str, epoch: int) -> None:
        """Empty a slot."""
        self._states.pop(slot, None)
        self._kept.pop(slot, None)
        self._store.save_checkpoints(self._key, epoch, {slot: None})

    def _state(self, slot: str) -> Any:
        state = self._states.get(slot, _ABSENT)
        if state is _ABSENT:
            state = self._states[slot] = self._definition.codec.unpack(self._kept[slot].body)
        return state
