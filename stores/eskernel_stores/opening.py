"""From a URL to a store."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from eskernel_stores.memory import MemoryStore
from eskernel_stores.urls import shown

if TYPE_CHECKING:
    from eskernel_stores.file import FileStore
    from eskernel_stores.jetstream import JetStreamStore
    from eskernel_stores.mongo import MongoStore
    from eskernel_stores.sql import SqlStore

Store: TypeAlias = "MemoryStore | FileStore | SqlStore | JetStreamStore | MongoStore"

ALLOWED: Final = (
    "memory:",
    "file:///absolute/folder",
    "sqlite:///relative/file.db",
    "sqlite:////absolute/file.db",
    "postgresql://user:password@host:port/database",
    "nats://user:password@host:port,host:port/name?replicas=3",
    "tls://user:password@host:port,host:port/name?replicas=3",
    "mongodb://user:password@host:port,host:port/database",
    "mongodb+srv://user:password@host/database",
)
"""The forms of a URL."""

_DRIVERS: Final = {
    "postgresql": ("psycopg", "postgres"),
    "nats": ("nats", "nats"),
    "tls": ("nats", "nats"),
    "mongodb": ("pymongo", "mongo"),
    "mongodb+srv": ("pymongo", "mongo"),
}
"""By scheme: the module it needs beside the core's, and the extra that brings it."""


def open_store(url: str, types: Iterable[type] = ()) -> Store:
    """Open the store a URL names, or make a new one there.

    Args:
        url: one of

            - `memory:`, a new and empty `MemoryStore`;
            - `file:///absolute/folder`, a `FileStore`; `%20` and the like stand for characters;
            - `sqlite:///relative/file.db` or `sqlite:////absolute/file.db`, a `SqlStore`;
            - `postgresql://user:password@host:port/database`, a `SqlStore`;
            - `nats://user:password@host:port,host:port/name?replicas=3`, a `JetStreamStore`; or
              `tls:`, which speaks with servers that encrypt only;
            - `mongodb://user:password@host:port,host:port/database`, or `mongodb+srv:`, a
              `MongoStore`.
        types: declared dataclasses and Enums that readers of the store itself may meet; a kernel
            decodes with its domains' own.

    Raises:
        ValueError: the URL names no store; the message lists what is allowed.
        ModuleNotFoundError: the store needs an extra that is not installed, or another system; the
            message names it.
        StoreUnavailable: the store cannot be reached or made.
        CorruptStore: what is there is damaged, or no store.
    """
    scheme = _scheme_of(url)
    if scheme == "memory":
        return _open_memory(url, types)
    if scheme == "file":
        return _open_file(url, types)
    if scheme in _DRIVERS:
        _require(scheme, *_DRIVERS[scheme])
    if scheme in ("sqlite", "postgresql"):
        return _open_sql(url, types)
    if scheme in ("nats", "tls"):
        return _open_jetstream(url, types)
    if scheme in ("mongodb", "mongodb+srv"):
        return _open_mongo(url, types)
    raise ValueError(f"{shown(url)} names no store; allowed: {', '.join(ALLOWED)}")


def _scheme_of(url: Any) -> str:
    """Return what stands before the first colon; empty for what is no URL."""
    try:
        return urlsplit(url).scheme if isinstance(url, str) else ""
    except ValueError:  # it cannot be taken apart
        return ""


def _open_memory(url: str, types: Iterable[type]) -> MemoryStore:
    if url != "memory:":
        raise ValueError(f"{shown(url)} says more than a memory store can use; write memory:")
    return MemoryStore(types)


def _open_file(url: str, types: Iterable[type]) -> FileStore:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not path.is_absolute():
        raise ValueError(
            f"{shown(url)} names no folder; write file:///absolute/folder, "
            "with %3F for ? and %23 for #"
        )
    try:
        from eskernel_stores.file import FileStore  # noqa: PLC0415 - only who uses it imports it
    except ModuleNotFoundError as error:  # fcntl, on Windows
        raise ModuleNotFoundError(
            "a file: store needs the file locks of Linux or macOS", name=error.name
        ) from error
    return FileStore(path, types)


def _open_sql(url: str, types: Iterable[type]) -> SqlStore:
    from eskernel_stores.sql import SqlStore  # noqa: PLC0415

    return SqlStore(url, types)


def _open_jetstream(url: str, types: Iterable[type]) -> JetStreamStore:
    from eskernel_stores.jetstream import JetStreamStore  # noqa: PLC0415

    return JetStreamStore(url, types)


def _open_mongo(url: str, types: Iterable[type]) -> MongoStore:
    from eskernel_stores.mongo import MongoStore  # noqa: PLC0415

    return MongoStore(url, types)


def _require(scheme: str, module: str, extra: str) -> None:
    try:
        import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"a {scheme}: store needs {module}: install eskernel[{extra}]", name=module
        ) from error
