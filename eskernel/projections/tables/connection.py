"""TableConnection: what a handler writes its projection's tables with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.engine import Dialect

from eskernel.projections.tables.copies import Tables
from eskernel.projections.tables.plan import Plan
from eskernel.projections.tables.sender import MOST, Sender
from eskernel.projections.tables.statements import Statement, delete_of, update_of, upsert_of

Values = Mapping[str, Any]
_Build = Callable[[Table, Values, Dialect], Statement]

_KEPT: Final = 500
"""Plans, and prepared statements, that are kept."""


class TableConnection:
    """The second argument of `handle_event(event, connection)`.

    Everything takes effect in the order it is asked for, in one transaction with the events'
    position. `write`, `upsert`, `update` and `delete` wait until something else is asked for, or
    the page of events ends, and are sent together with the next ones of their kind, which is many
    times faster. So an error of theirs is raised by a later call, maybe for another event; the
    page is then repeated event by event, and the right one is blamed.

    A statement that has failed ends the transaction, even if the handler catches the error.

    Attributes:
        tables: the tables to name in statements: `connection.tables.orders`. In a rebuild they are
            others than those that serve.
    """

    def __init__(self, tables: Tables, sender: Sender) -> None:
        self.tables = tables
        self._sender = sender
        self._plans: dict[Any, Plan] = {}
        self._prepared: dict[Any, tuple[Any, Any]] = {}

    def execute(
        self, statement: Executable, parameters: Values | Sequence[Values] | None = None
    ) -> CursorResult[Any]:
        """Execute a statement at once and return its result.

        Args:
            statement: of SQLAlchemy; its tables are those of `tables`.
            parameters: for its parameters, or one mapping for each of many executions.

        Raises:
            SQLAlchemyError: the database refuses it, or something written before.
            InvalidProjection: it names a declared table instead, or would end the transaction.
        """
        return self._sender.execute(statement, parameters)

    def write(self, statement: Executable, parameters: Values | None = None) -> None:
        """Execute a statement whose result nobody needs, together with the next ones.

        Build it once, with `prepared`: only one and the same object is sent together.

        Args:
            statement: an insert, update or delete.
            parameters: for its parameters; without any, it is sent at once.

        Raises:
            SQLAlchemyError: something written before has failed, or parameters are missing.
            InvalidProjection: as `execute`.
        """
        if parameters is None:
            self._sender.execute(statement, None)
            return
        plan = self._sender.plan
        if plan is None or plan.subject is not statement or plan.width != len(parameters):
            plan = self._plan_of(statement, parameters)
        try:
            row = plan.bind(parameters)
        except KeyError:
            plan = self._plan_of(statement, parameters)
            row = plan.bind(parameters)
        self._sender.queue(plan, row)

    def upsert(self, table: Table, values: Values) -> None:
        """Insert a row, or update those columns of the row with this primary key.

        Args:
            table: one of `tables`.
            values: by column; all of the primary key among them. Defaults fill others' places in a
                new row, and leave them alone in an old one.

        Raises:
            ValueError: values for columns are missing, or there are too many.
            SQLAlchemyError, InvalidProjection: as `write`.
        """
        sender = self._sender
        plan = sender.plan
        # The way of almost all, short because an event costs hardly more than this: one more row
        # of the plan that waits.
        if plan is not None and plan.upserts is table and plan.width == len(values):
            rows = sender.rows
            try:
                row = plan.bind(values)
            except KeyError:
                pass
            else:
                if len(rows) < MOST:
                    rows.append(row)
                    return
        self._defer(upsert_of, table, values)

    def update(self, table: Table, values: Values) -> None:
        """Update columns of the row with this primary key, if it is there; as `upsert`."""
        self._defer(update_of, table, values)

    def delete(self, table: Table, key: Values) -> None:
        """Delete the row with this primary key, if it is there; as `upsert`.

        Args:
            table: one of `tables`.
            key: the primary key's columns and no others.
        """
        self._defer(delete_of, table, key)

    def prepared(self, build: Callable[[Tables], Executable]) -> Any:
        """Return `build(tables)`, which is called once and its result kept.

        Args:
            build: makes a statement; a function of the module, for a lambda in the handler is a
                new one each time.
        """
        found = self._prepared.get(build)
        if found is None:
            if len(self._prepared) >= _KEPT:
                self._prepared.clear()
            found = self._prepared[build] = (build(self.tables), build)
        return found[0]

    def _defer(self, build: _Build, table: Table, values: Values) -> None:
        sender = self._sender
        plan = sender.plan
        if (
            plan is None
            or plan.subject is not table
            or plan.kind is not build
            or plan.width != len(values)
        ):
            plan = self._plan_for(build, table, values)
        try:
            row = plan.bind(values)
        except KeyError:  # as many columns, but others
            plan = self._plan_for(build, table, values)
            row = plan.bind(values)
        sender.queue(plan, row)

    def _plan_of(self, statement: Executable, parameters: Values) -> Plan:
        key = (id(statement), tuple(sorted(parameters)))
        plan = self._plans.get(key)
        if plan is None or plan.subject is not statement:
            self._sender.check(statement)
            plan = Plan(statement, None, statement, parameters, self._sender.dialect)
            self._keep(key, plan)
        return plan

    def _plan_for(self, build: _Build, table: Table, values: Values) -> Plan:
        key = (build, table, tuple(sorted(values)))
        plan = self._plans.get(key)
        if plan is None:
            dialect = self._sender.dialect
            self._sender.check(table)
            statement = build(table, values, dialect)
            executable, renamed = statement.executable, statement.renamed
            plan = Plan(table, build, executable, values, dialect, renamed)
            if statement.many:
                plan.insert_many()
            if build is upsert_of:
                plan.upserts = table
            self._keep(key, plan)
        return plan

    def _keep(self, key: Any, plan: Plan) -> None:
        if len(self._plans) >= _KEPT:
            self._plans.clear()
        self._plans[key] = plan
