"""Definition: a user's projection module, checked once and ready to be called."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eskernel.codec import Codec, declared_types
from eskernel.contracts.modules import check_function, version_of
from eskernel.errors import InvalidCommand, InvalidDomain, InvalidProjection
from eskernel.values import Event, check_identifier

if TYPE_CHECKING:
    from sqlalchemy import Table

MAX_NAME = 200
Unpack = Callable[[bytes], Any]


class Definition:
    """The functions of one projection.

    A projection is a module, or any object, with either

    - `init()`, which returns the state without events, and `handle_event(event, state)`, which
      returns the next state. It may change `state` in place and return it: nobody else has it; or
    - `tables`, SQLAlchemy tables, and `handle_event(event, connection)`, which writes to
      `connection.tables`; see `eskernel.projections.tables.TableConnection`.

    Optional beside them:

    - `event_types`, `aggregate_types`: names; the store passes over events of others;
    - `event_filter(event) -> bool`: passes over those it returns False for;
    - `version`: a string or number; a changed one has the projection rebuilt. Without it, a hash
      of the module's source;
    - `types`: dataclasses and Enums that the state, or payloads, use beside the module's own.

    Attributes:
        name: of the projection.
        tables: as declared; empty for one with a state.
        init, handle_event, event_filter: the module's functions; no filter is None.
        event_types, aggregate_types: what the store shall look for; None for all.
        codec: packs the state.
        version: declared, or computed; see `eskernel.contracts.modules.version_of`.

    Args:
        name: of the projection.
        module: the module.
        unpackers: by aggregate type, what decodes its payloads; others are decoded by the store.

    Raises:
        InvalidProjection: a function is missing or takes other arguments, or the name is none.
    """

    def __init__(
        self, name: str, module: Any, unpackers: Mapping[str, Unpack] | None = None
    ) -> None:
        self.name = _checked_name(name)
        what = f"projection {name!r}"
        self.tables = _checked_tables(what, getattr(module, "tables", None))
        if not hasattr(module, "handle_event") and hasattr(module, "handle_command"):
            raise InvalidProjection(
                f"{what}: {module!r} looks like a domain, which decides; a projection has "
                "handle_event(event, state)"
            )
        functions = ["handle_event"]
        if self.tables:
            check_function(InvalidProjection, what, module, "handle_event", ("event", "connection"))
        else:
            check_function(InvalidProjection, what, module, "init", ())
            check_function(InvalidProjection, what, module, "handle_event", ("event", "state"))
            functions.append("init")
        self.init: Callable[[], Any] = getattr(module, "init", lambda: None)
        self.handle_event: Callable[[Event, Any], Any] = module.handle_event
        self.event_filter: Callable[[Event], Any] | None = getattr(module, "event_filter", None)
        if self.event_filter is not None:
            check_function(InvalidProjection, what, module, "event_filter", ("event",))
            functions.append("event_filter")
        self.event_types = _checked_names(what, "event_types", module)
        self.aggregate_types = _checked_names(what, "aggregate_types", module)
        try:
            self.codec = Codec(declared_types(module))
        except InvalidDomain as error:
            raise InvalidProjection(f"{what}: {error}") from error
        self.version = version_of(module, functions)
        self._unpackers = dict(unpackers or {})

    def read(self, event: Event) -> Event:
        """Return the event decoding as its aggregate type wants it."""
        unpack = self._unpackers.get(event.stream_id[0])
        return event if unpack is None else event.read_with(unpack)

    def chosen(self, events: Iterator[Event]) -> list[Event]:
        """Return those events that are to be handled, decoding as they should.

        Raises:
            Exception: whatever the module's filter raises, at the event it has taken last.
        """
        read = map(self.read, events) if self._unpackers else events
        wants = self.event_filter
        return [*read] if wants is None else [event for event in read if wants(event)]

    def wants(self, event: Event) -> bool:
        """Return whether an event that the store has let through is to be handled."""
        return self.event_filter is None or bool(self.event_filter(event))


def _checked_name(name: Any) -> str:
    try:
        check_identifier("a projection's name", name)
    except InvalidCommand as error:
        raise InvalidProjection(str(error)) from None
    if len(name) > MAX_NAME:
        raise InvalidProjection(
            f"a projection's name has at most {MAX_NAME} characters, not {len(name)}"
        )
    return str(name)


def _checked_tables(what: str, tables: Any) -> tuple[Table, ...]:
    if tables is None:
        return ()
    from sqlalchemy import Table  # noqa: PLC0415 - only who has tables imports it

    found = tuple(tables) if isinstance(tables, Collection) else (tables,)
    if not found or not all(isinstance(table, Table) for table in found):
        raise InvalidProjection(
            f"{what}: `tables` must be a tuple of SQLAlchemy tables, not {tables!r}"
        )
    return found


def _checked_names(what: str, attribute: str, module: Any) -> frozenset[str] | None:
    names = getattr(module, attribute, None)
    if names is None:
        return None
    if (
        isinstance(names, str)
        or not isinstance(names, Collection)
        or not all(isinstance(name, str) for name in names)
    ):
        raise InvalidProjection(
            f'{what}: `{attribute}` must be a set of names, such as {{"deposited"}}, not {names!r}'
        )
    return frozenset(names)
