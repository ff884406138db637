"""Sender: statements on their way to the database, in the order of the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, Executable, Table, TextClause
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors

from eskernel.errors import InvalidProjection
from eskernel.projections.tables.plan import Plan

MOST: Final = 1000
"""Rows that wait at most, so that a handler that writes without end does not fill the memory."""
_KNOWN: Final = 1000
"""Statements remembered as good."""
_ENDING: Final = frozenset(
    ("abort", "begin", "commit", "end", "release", "rollback", "savepoint", "start")
)


class Sender:
    """Sends statements in the transaction it is attached to.

    Invariants: whatever is executed, all that was queued before is sent before. Once a statement
    has failed, `failed` says so until the transaction is over: PostgreSQL has undone it all by
    then, and SQLite a part of what was queued, so it must not be committed.

    Attributes:
        plan: of the rows that wait.
        rows: those that wait, at most `MOST`.
        failed: the first error of a statement.

    Args:
        declared: the projection's tables as declared, which no statement may name.
    """

    def __init__(self, declared: Iterable[Table]) -> None:
        self.plan: Plan | None = None
        self.failed: Exception | None = None
        self.rows: list[Any] = []  # of that plan
        self._lent: Connection | None = None
        self._declared = frozenset(declared)
        self._known: dict[int, Any] = {}

    def attach(self, connection: Connection) -> None:
        """Begin to send on a connection."""
        self._lent = connection

    def detach(self) -> None:
        """Send no more, and forget what was queued and what has failed."""
        self._lent = self.plan = self.failed = None
        self.rows = []

    def queue(self, plan: Plan, row: Any) -> None:
        """Send a row with the next others of the same plan; may raise what earlier ones cause."""
        if plan is not self.plan or len(self.rows) >= MOST:
            self.flush()
            self.plan = plan
        self.rows.append(row)

    def flush(self) -> None:
        """Send what was queued.

        Raises:
            SQLAlchemyError: the database refuses.
            InvalidProjection: there is no transaction.
        """
        connection = self._connection()
        rows = self.rows
        if not rows or self.plan is None:
            return
        self.rows = []
        try:
            self.plan.send(connection, rows)
        except Exception as error:
            self.failed = error
            raise

    def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    ) -> CursorResult[Any]:
        """Send what was queued, then execute a statement; raises as `flush`."""
        self.check(statement)
        self.flush()
        try:
            return self._connection().execute(statement, parameters)
        except Exception as error:
            self.failed = error
            raise

    @property
    def dialect(self) -> Dialect:
        """The database's; raises InvalidProjection if there is no transaction."""
        return self._connection().dialect

    def _connection(self) -> Connection:
        if self._lent is None:
            raise InvalidProjection(
                "a projection's connection was used outside of its handler; use it only while "
                "handle_event runs, on the thread that runs it"
            )
        return self._lent

    def check(self, statement: Any) -> None:
        """Raise InvalidProjection if a statement is not for a handler to execute.

        It names a table as declared, where in a rebuild it would change what serves; or it would
        end the transaction. What is written in text is the user's own affair, but for that.
        """
        if self._known.get(id(statement)) is statement:
            return
        for element in visitors.iterate(statement):
            table = element if isinstance(element, Table) else getattr(element, "table", None)
            if table in self._declared:
                name = table.name
                raise InvalidProjection(
                    f"a statement names the declared table {name}; take connection.tables[{name!r}]"
                    " instead, which in a rebuild is another one"
                )
        if isinstance(statement, TextClause) and _first_word(statement.text) in _ENDING:
            raise InvalidProjection(
                f"a handler cannot {statement.text!r}: the transaction ends with the page of events"
            )
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[id(statement)] = statement  # held, so that no other gets its id


def _first_word(text: str) -> str:
    return (text.split(None, 1) or [""])[0].rstrip(";").lower()
