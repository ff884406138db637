"""What the proofs about projections share: two that note positions, and a store that can be cut.

Both projections handle the same events of the same log, so one predicate, `matches`, written
without any help of the store's filters, tells what they must have handled.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, func, insert, select

from eskernel.contracts import Clock
from eskernel.projections.bound import Bound
from eskernel.projections.definition import Definition
from eskernel.projections.options import Projection
from eskernel.projections.progress import Progress
from eskernel.projections.projector import Projector
from eskernel.projections.tables.naming import SUFFIXES
from eskernel.projections.view import View
from eskernel.values import Event, Range

TYPES, AGGREGATE_TYPES = frozenset({"noted"}), frozenset({"a", "b"})
Point = Callable[[str, str], None]
"""A hook: gets the name of a store's call, and "before" or "after"."""


class HandlerFailed(Exception):
    """What the projections' handlers raise when told to."""


class Unstorable:
    """What no codec knows."""


def is_wanted(event: Event) -> bool:
    return bool(event.payload["n"] % 4)


def matches(event: Event) -> bool:
    """Return whether the projections must handle an event."""
    return (
        event.type in TYPES and event.stream_id[0] in AGGREGATE_TYPES and event.payload["n"] % 4 > 0
    )


class Noting:
    """A projection whose state is the list of positions it has handled.

    Attributes:
        failing: by an event's number, how often handling it fails from now on.
        spoiling: by an event's number, how often it makes work that cannot be committed.
        before: called in each handler first.
    """

    version = "1"
    event_types = TYPES
    aggregate_types = AGGREGATE_TYPES
    event_filter = staticmethod(is_wanted)

    def __init__(self) -> None:
        self.failing: dict[int, int] = {}
        self.spoiling: dict[int, int] = {}
        self.before: Callable[[Event], None] = lambda _: None

    def init(self) -> list[Any]:
        return []

    def handle_event(self, event: Event, state: list[Any]) -> list[Any]:
        self.before(event)
        state.append(event.position)
        if self._is_told(self.spoiling, event):
            state.append(Unstorable())
        self._fail_if_told(event)
        return state

    def _fail_if_told(self, event: Event) -> None:
        if self._is_told(self.failing, event):
            raise HandlerFailed(f"made to fail at {event.position}")

    @staticmethod
    def _is_told(told: dict[int, int], event: Event) -> bool:
        n = event.payload["n"]
        left = told.get(n, 0)
        if left:
            told[n] = left - 1
        return bool(left)


def noting_table(name: str) -> Table:
    return Table(
        name,
        MetaData(),
        Column("n", Integer, primary_key=True, autoincrement=False),
        Column("position", BigInteger, nullable=False),
    )


class NotingTable(Noting):
    """A projection whose table lists the positions it has handled, numbered from 1 on.

    Args:
        name: of the table.
    """

    def __init__(self, name: str = "noting") -> None:
        super().__init__()
        self.table = noting_table(name)
        self.tables = (self.table,)

    def handle_event(self, event: Event, connection: Any) -> None:  # type: ignore[override]
        self.before(event)
        table = connection.tables[self.table.name]
        highest = connection.execute(select(func.coalesce(func.max(table.c.n), 0))).scalar_one()
        row = {"n": highest + 1, "position": event.position}
        if self._is_told(self.spoiling, event):
            row["position"] = None  # refused when it is sent, which is at the commit
        connection.write(connection.prepared(self._inserting), row)
        self._fail_if_told(event)

    def _inserting(self, tables: Any) -> Any:
        return insert(tables[self.table.name])


# A store that can be cut at any call.


class HookedTransaction:
    """A table transaction with a hook around its save."""

    def __init__(self, lent: Any, point: Point) -> None:
        self.connection = lent.connection
        self.is_awaited = lent.is_awaited
        self._lent = lent
        self._point = point

    def save_checkpoints(self, *arguments: Any) -> None:
        self._point("save in transaction", "before")
        self._lent.save_checkpoints(*arguments)
        self._point("save in transaction", "after")


class HookedStore:
    """A store with a hook before and after each call a projection makes.

    Args:
        store: the real one.
        point: the hook; what it raises ends the call there.
    """

    def __init__(self, store: Any, point: Point) -> None:
        self._store = store
        self._point = point

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        self._point(name, "before")
        found = getattr(self._store, name)(*arguments, **options)
        self._point(name, "after")
        return found

    def fold_all(self, *arguments: Any, **options: Any) -> Any:
        return self._call("fold_all", *arguments, **options)

    def last_position(self) -> Any:
        return self._call("last_position")

    def load_checkpoint(self, *arguments: Any) -> Any:
        return self._call("load_checkpoint", *arguments)

    def save_checkpoints(self, *arguments: Any) -> Any:
        return self._call("save_checkpoints", *arguments)

    def acquire_lease(self, *arguments: Any) -> Any:
        return self._call("acquire_lease", *arguments)

    def release_lease(self, *arguments: Any) -> Any:
        return self._call("release_lease", *arguments)

    @contextmanager
    def table_transaction(self, patience: float) -> Iterator[HookedTransaction]:
        self._point("begin", "before")
        with self._store.table_transaction(patience) as lent:
            self._point("begin", "after")
            yield HookedTransaction(lent, self._point)
            self._point("commit", "before")
        self._point("commit", "after")


# Making them.


def projector(
    module: Any,
    store: Any,
    *,
    name: str = "noting",
    owner: str = "",
    view: View | None = None,
    clock: Clock = time,
    seed: int | None = None,
    **options: Any,
) -> Projector:
    """Return a projector as a kernel makes it, whose log and checkpoints are in one store."""
    chosen = Projection(module, **options)
    bound = Bound(Definition(name, module), chosen, store)
    return Projector(
        *(bound.definition, chosen, bound.new_model(), store, store, bound.key),
        *(owner or str(uuid.uuid4()), view or View(), clock),
        seed=seed,
    )


def append(
    store: Any, stream_id: tuple[str, str], count: int, types: Sequence[str] = ("noted",)
) -> list[Event]:
    """Append events with numbers of their own, of these types in turn; return them as stored."""
    before = store.fold(stream_id, lambda number, _: number + 1, 0)
    last = store.last_position()
    events = [
        Event(stream_id, before + n, types[(n - 1) % len(types)], {"n": last + n})
        for n in range(1, count + 1)
    ]
    store.append(stream_id, events, expected_sequence=before)
    return log(store, last + 1)


def append_mixed(store: Any, rounds: int) -> None:
    """Append events that match and some that do not, to several streams."""
    for n in range(rounds):
        append(store, ("ab"[n % 2], str(n % 3)), 2, ("noted", "other") if n % 3 else ("noted",))
        if not n % 4:
            append(store, ("c", "x"), 1)


def log(store: Any, start: int = 1) -> list[Event]:
    return store.fold_all(lambda found, event: [*found, event], [], Range(start))[0]


def matching(store: Any) -> list[int]:
    """Return the positions a projection must have handled when it has reached the log's end."""
    return [event.position for event in log(store) if matches(event)]  # type: ignore[misc]


# Looking at what is stored.


def stored(module: Any, store: Any, slot: str, *, name: str = "noting") -> Any:
    """Return the positions a slot holds and the progress stored with them; None for nothing."""
    key = f"projection/{name}"
    while True:  # until nobody has changed one while the other was read
        checkpoint = store.load_checkpoint(key, slot)
        if checkpoint is None:
            return None
        if not isinstance(module, NotingTable):
            break
        rows = rows_of(module, store, slot)
        if store.load_checkpoint(key, slot) == checkpoint:
            return rows, Progress.of(checkpoint)
    state = Definition(name, module).codec.unpack(checkpoint.state)
    return state, Progress.of(checkpoint)


def rows_of(module: NotingTable, store: Any, slot: str) -> list[int]:
    """Return the positions in a slot's table; the numbers beside them must be 1, 2, 3 and on."""
    table = noting_table(module.table.name + SUFFIXES[slot])
    with store.table_transaction(60) as lent:
        rows = lent.connection.execute(select(table.c.n, table.c.position).order_by(table.c.n))
        found = [tuple(row) for row in rows]
    assert [n for n, _ in found] == list(range(1, len(found) + 1)), f"numbers of {found}"
    return [position for _, position in found]


def check_handled(
    positions: list[int], progress: Progress, due: list[int], retried: frozenset[int] = frozenset()
) -> None:
    """Check that exactly the matching positions up to a progress were handled, in order, once.

    Args:
        positions: those handled, in the order it happened.
        progress: stored with them.
        due: all matching positions.
        retried: positions that were parked once and may come late.
    """
    aside = {*(one.position for one in progress.parked), *progress.discarded}
    expected = [one for one in due if one <= progress.position and one not in aside]
    assert sorted(positions) == expected, f"up to {progress.position}, {aside} aside: {positions}"
    in_order = [one for one in positions if one not in retried]
    assert in_order == sorted(in_order), f"out of order: {positions}"
    assert progress.ledger.reached == progress.position, "the ledger is not the progress's"


def run_to_end(one: Projector, store: Any, clock: Any = None, steps: int = 2000) -> None:
    """Step a projector until it has seen the whole log and builds nothing."""
    for _ in range(steps):
        pause = one.step()
        view = one.view
        if pause and view.position >= store.last_position() and view.rebuild is None:
            return
        if pause and clock is not None:
            clock.advance(pause)
    raise AssertionError(f"not at the end after {steps} steps: {vars(one.view)}")
