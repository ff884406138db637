"""What SQLite's failures mean, by its primary result codes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, ProgrammingError

from eskernel.errors import CorruptStore, EskernelError, StoreUnavailable

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED: Final = {
    *_BUSY,
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG),
}
"""Failures, of a COMMIT too, that leave nothing stored."""

_WRONG: Final = {
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH),
    *(sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_AUTH),
}
"""Failures that are the statement's own fault."""


def explain(error: BaseException | None, path: Path, timeout: float) -> EskernelError:
    """Return what the failure of a statement other than COMMIT means.

    Args:
        error: of the driver.
        path: of the database file.
        timeout: seconds that were waited for a lock.
    """
    code = _code(error)
    if code in _DAMAGED or str(error).startswith("Could not decode to UTF-8"):
        return CorruptStore(f"{path} is damaged, or no SQLite database: {error}")
    if code in _BUSY:
        return StoreUnavailable(
            f"{path} is locked by another program for more than {timeout:g} seconds; "
            "nothing was stored, try again"
        )
    return StoreUnavailable(f"{path}: {error}; nothing was stored")


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another program has the file locked."""
    return _code(error) in _BUSY


def leaves_nothing(error: sqlite3.Error) -> bool:
    """Return whether after a failure, of a COMMIT too, nothing is stored."""
    return _code(error) in _REFUSED | _DAMAGED


def blames_statement(error: DBAPIError) -> bool:
    """Return whether a statement is wrong in itself, and will fail again."""
    has_no_code = isinstance(error, (InterfaceError, ProgrammingError))  # the driver's own
    return has_no_code or _code(error.orig) in _WRONG


def _code(error: BaseException | None) -> int:
    """Return the primary result code of an error of SQLite; 0 for others."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
