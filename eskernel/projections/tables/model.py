"""TableModel: a read model in ordinary SQL tables, changed together with its checkpoint.

Longer than most modules, as it is all of `RebuildableModel`; what can be told apart is beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any, NoReturn

from sqlalchemy import Connection

from eskernel.contracts import CheckpointStore
from eskernel.errors import CorruptStore, InvalidProjection, StaleEpoch
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.projections.tables.connection import TableConnection
from eskernel.projections.tables.copies import copies_of
from eskernel.projections.tables.declared import check_tables
from eskernel.projections.tables.kept import Kept, load_kept, table_store
from eskernel.projections.tables.sender import Sender
from eskernel.projections.tables.slots import Names, Slots
from eskernel.projections.tables.transaction import Work
from eskernel.values import SERVING, Checkpoint, Event


class TableModel:
    """The tables of a projection with `tables` and `handle_event(event, connection)`.

    A slot's tables have the declared names with a suffix, none in the serving slot, and change
    names when slots do: who reads them sees one version or another, whole. A checkpoint's state
    says which tables belong to it; another version of the module may have had others.

    Invariant: tables are only changed in the transaction that `Work` keeps, which is committed
    with the checkpoint that tells of the change, or not at all.

    Args:
        definition: the module.
        store: a TableStore that is a CheckpointStore as well.
        key: the name its checkpoints are stored under.
        patience: seconds after which the database may end a transaction that does nothing.

    Raises:
        InvalidProjection: the store keeps no tables, or a table is none that can be rebuilt.
    """

    undoes = True
    eager = True
    opening = 0.0
    shared = True

    def __init__(
        self, definition: Definition, store: CheckpointStore, key: str, *, patience: float = 5.0
    ) -> None:
        self._store: CheckpointStore = store
        check_tables(definition.name, definition.tables)
        self._definition = definition
        self._handle_event = definition.handle_event
        self._key = key
        self._slots = Slots(definition.name, definition.tables)
        self._sender = Sender(definition.tables)
        self._work = Work(table_store(definition.name, store), patience, self._sender)
        self._connections: dict[str, TableConnection] = {}
        self._current: TableConnection  # of the slot that is worked on
        self._kept: dict[str, Kept] = {}
        self._begun: set[str] = set()  # slots whose tables are made with the next commit

    # What is stored.

    def load(self, slot: str) -> Progress | None:
        """Make what is stored current; see `ReadModel.load`.

        Raises:
            StoreUnavailable: the store's.
            CorruptStore: so does the store, or a table is gone.
        """
        self._settle()
        self._begun.discard(slot)
        self._kept.pop(slot, None)
        found = self._stored(slot)
        if found is not None:
            with self._work.look() as transaction:
                self._slots.check_there(transaction.connection, slot, found.names)
            self._kept[slot] = found
        self._work.failed = False
        return None if found is None else found.progress

    def peek(self, slot: str) -> Progress | None:
        """Return the progress that is stored."""
        found = self._stored(slot)
        return None if found is None else found.progress

    def _stored(self, slot: str) -> Kept | None:
        return load_kept(self._store, self._key, slot)

    def _names(self, slot: str) -> Names:
        found = self._stored(slot)
        return () if found is None else found.names

    # The work.

    def begin(self, slot: str, progress: Progress) -> None:
        """Have the next commit create empty tables; see `ReadModel.begin`.

        Raises:
            InvalidProjection: they cannot be created, for somebody else's are in the way.
        """
        self._settle()
        serving = self._names(SERVING)
        with self._work.look() as transaction:
            self._slots.check_free(transaction.connection, slot, serving)
        self._kept[slot] = Kept(progress, self._slots.names)
        self._begun.add(slot)
        self._work.failed = False

    def handle(self, slot: str, events: Iterator[Event]) -> None:
        """Let the module handle events.

        Raises:
            StoreUnavailable, CorruptStore: the database is at fault; or work was lost, and not
                undone.
            Exception: the handler's, or what the database says of its statements.
        """
        if slot != self._work.slot:
            self._open(slot)
        try:
            for event in events:
                self._handle_event(event, self._current)
                if self._sender.failed is not None:
                    raise self._sender.failed
        except BaseException as error:
            self._work.fail(error)
            raise

    def is_awaited(self) -> bool:
        """Return whether somebody is known to wait to write."""
        return self._work.is_awaited()

    def commit(self, slot: str, progress: Progress, epoch: int | None) -> None:
        """Store what was handled and the progress; see `ReadModel.commit`.

        Raises:
            SQLAlchemyError: the database refuses what a handler has written.
        """
        assert epoch is not None, "tables are shared: only the holder of the lease writes"
        if slot != self._work.slot:
            self._open(slot)
        kept = self._kept[slot]._replace(progress=progress)
        with self._work.failing() as transaction:
            self._sender.flush()
            transaction.save(self._key, epoch, {slot: kept.checkpoint()})
        self._work.commit(epoch)
        self._kept[slot] = kept
        self._begun.discard(slot)

    def _open(self, slot: str) -> None:
        """Begin a transaction for a slot."""
        serving = self._names(SERVING) if slot in self._begun else ()
        begun = perf_counter()
        self._work.open(slot)
        self.opening = perf_counter() - begun
        if slot in self._begun:
            with self._work.failing() as transaction:
                self._slots.check_free(transaction.connection, slot, serving)
                self._slots.create(transaction.connection, slot)
        if slot not in self._connections:
            tables = copies_of(self._definition.tables, slot)
            self._connections[slot] = TableConnection(tables, self._sender)
        self._current = self._connections[slot]

    def undo(self, slot: str) -> Progress:
        """Drop what was not committed; see `ReadModel.undo`.

        Raises:
            StoreUnavailable: the store's.
            CorruptStore: so does the store, or the checkpoint is gone.
        """
        self._settle()
        if slot not in self._kept:
            raise CorruptStore(f"{self._key} has no checkpoint {slot!r} any more; load it again")
        self._work.failed = False
        return self._kept[slot].progress

    def _settle(self) -> None:
        """Undo, and find out what has become of a commit of unknown outcome."""
        self._work.close()
        epoch = self._work.in_doubt
        if epoch is None:
            return
        with self._work.look() as transaction:
            # Waits for the commit in doubt to end, which holds the lease's row; so whether the
            # epoch is stale does not matter.
            with suppress(StaleEpoch):
                transaction.save(self._key, epoch, {})
            for slot in [*self._kept]:
                found = self._stored(slot)
                if found is not None:
                    self._kept[slot] = found
                    self._begun.discard(slot)
                elif slot not in self._begun:
                    del self._kept[slot]
        self._work.in_doubt = None

    def close(self) -> None:
        """Drop what was not committed; see `ReadModel.close`."""
        self._work.close()

    # Slots as a whole.

    def promote(self, serving: Progress, building: Progress, epoch: int) -> None:
        """Let what was built serve; see `RebuildableModel.promote`.

        Raises:
            InvalidProjection: somebody else's table or view is in the way.
            CorruptStore: a table is gone.
        """
        old, built, previous = map(self._names, (SERVING, BUILDING, PREVIOUS))
        new = Kept(building, built)
        self._change(
            lambda connection: self._slots.promote(connection, built, old, previous),
            {
                PREVIOUS: Kept(serving, old).checkpoint(),
                SERVING: new.checkpoint(),
                BUILDING: None,
            },
            epoch,
        )
        self._kept.pop(BUILDING, None)
        self._kept[SERVING] = new

    def roll_back(self, serving: Progress, previous: Progress, epoch: int) -> None:
        """Exchange what serves and what served before; see `RebuildableModel.roll_back`.

        Raises:
            InvalidProjection, CorruptStore: as `promote`.
        """
        old, older = map(self._names, (SERVING, PREVIOUS))
        new = Kept(previous, older)
        self._change(
            lambda connection: self._slots.exchange(connection, old, older),
            {PREVIOUS: Kept(serving, old).checkpoint(), SERVING: new.checkpoint()},
            epoch,
        )
        self._kept[SERVING] = new

    def drop(self, slot: str, epoch: int) -> None:
        """Drop a slot's tables with its checkpoint; raises as `commit`."""
        found = self._stored(slot)
        # Without a checkpoint, only tables whose names have a suffix are known to be ours.
        ours = found.names if found else () if slot == SERVING else self._slots.names
        self._change(
            lambda connection: self._slots.drop(connection, slot, ours), {slot: None}, epoch
        )
        self._kept.pop(slot, None)
        self._begun.discard(slot)

    def _change(
        self,
        change: Callable[[Connection], None],
        slots: Mapping[str, Checkpoint | None],
        epoch: int,
    ) -> None:
        """Change tables and checkpoints in a transaction of its own."""
        self._settle()
        self._work.failed = False
        self._work.open("")
        with self._work.failing() as transaction:
            try:
                change(transaction.connection)
            except (CorruptStore, InvalidProjection):
                transaction.save(self._key, epoch, {})  # it is no wonder if the epoch is stale
                raise
            transaction.save(self._key, epoch, slots)
        self._work.commit(epoch)

    def read(self, function: Any) -> NoReturn:  # noqa: ARG002 - whatever it is
        """Refuse: whoever wants to read the tables does so with SQL."""
        raise TypeError(f"{self._key} keeps tables; read them with SQL, by their declared names")
