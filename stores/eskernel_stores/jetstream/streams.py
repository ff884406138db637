"""The three streams of a store, made on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.replies import NO_STREAM, ApiError

_TOO_FEW_SERVERS: Final = frozenset((10005, 10074))  # their error codes
_SAME_NAME: Final = 10058
_OFFLINE: Final = "offline"  # in words, for the code is the same: servers are known, but not there
_PAUSE: Final = 0.1  # seconds before it is looked again whether they are


def events_stream(name: str) -> str:
    """Return what the stream of events is called."""
    return f"{name}-events"


def events_subjects(name: str) -> str:
    """Return what the subjects of events begin with: aggregate type and id follow."""
    return f"{name}.events."


def bucket_stream(bucket: str) -> str:
    """Return what the stream of a bucket of keys and values is called."""
    return f"KV_{bucket}"


def bucket_subjects(bucket: str) -> str:
    """Return what the subjects of a bucket begin with: the key follows."""
    return f"$KV.{bucket}."


def snapshots_bucket(name: str) -> str:
    """Return what the bucket of snapshots is called."""
    return f"{name}-snapshots"


def checkpoints_bucket(name: str) -> str:
    """Return what the bucket of checkpoints is called."""
    return f"{name}-checkpoints"


async def make_streams(connection: Connection, name: str, replicas: int, timeout: float) -> None:
    """Make the streams of a store that do not exist; those that do stay as they are.

    Args:
        connection: to the servers.
        name: of the store.
        replicas: servers that keep each message.
        timeout: seconds to wait for servers that were there before.

    Raises:
        StoreUnavailable: they cannot be made, or one that exists is no store's, or has fewer
            replicas.
    """
    buckets = (snapshots_bucket(name), checkpoints_bucket(name))
    wanted = (_events(name), *(_bucket(bucket) for bucket in buckets))
    deadline = asyncio.get_running_loop().time() + timeout
    for made in await asyncio.gather(
        *(_make(connection, {**one, "num_replicas": replicas}, deadline) for one in wanted),
        return_exceptions=True,
    ):
        if isinstance(made, BaseException):
            raise made


def _events(name: str) -> dict[str, Any]:
    return {
        "name": events_stream(name),
        "subjects": [f"{events_subjects(name)}>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": True,
        "allow_atomic": True,
    }


def _bucket(bucket: str) -> dict[str, Any]:
    """Return what the library's own buckets are, and that batches are allowed."""
    return {
        "name": bucket_stream(bucket),
        "subjects": [f"{bucket_subjects(bucket)}>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "allow_atomic": True,
    }


async def _make(connection: Connection, wanted: Mapping[str, Any], deadline: float) -> None:
    while True:
        try:
            found = await _found(connection, wanted)
            break
        except ApiError as error:
            is_over = asyncio.get_running_loop().time() > deadline
            if is_over or _OFFLINE not in error.description:
                raise _unmade(wanted, error) from error
        await asyncio.sleep(_PAUSE)
    for key in ("subjects", "allow_direct", "allow_atomic"):
        if found.get(key) != wanted[key]:
            raise StoreUnavailable(
                f"the stream {wanted['name']} has {key}={found.get(key)!r}, and not "
                f"{wanted[key]!r}: the server may be older than nats-server 2.12, or the stream "
                "somebody else's; use another name in the URL, or delete the stream"
            )
    if found["num_replicas"] < wanted["num_replicas"]:
        raise StoreUnavailable(
            f"the stream {wanted['name']} keeps each message on {found['num_replicas']} servers, "
            f"not on {wanted['num_replicas']}: change it (nats stream edit --replicas), or write "
            f"?replicas={found['num_replicas']} at the end of the URL"
        )


async def _found(connection: Connection, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a stream is configured, which is made if it does not exist."""
    name = wanted["name"]
    try:
        answer = await connection.ask(f"$JS.API.STREAM.INFO.{name}")
    except ApiError as error:
        if error.err_code != NO_STREAM:
            raise
        try:
            answer = await connection.ask(f"$JS.API.STREAM.CREATE.{name}", wanted)
        except ApiError as refusal:
            if refusal.err_code != _SAME_NAME:
                raise
            answer = await connection.ask(f"$JS.API.STREAM.INFO.{name}")  # just made by another
    return answer["config"]  # type: ignore[no-any-return]


def _unmade(wanted: Mapping[str, Any], error: ApiError) -> StoreUnavailable:
    replicas = wanted["num_replicas"]
    if replicas > 1 and error.err_code in _TOO_FEW_SERVERS:
        return StoreUnavailable(
            f"there are too few servers to keep {replicas} replicas of {wanted['name']}: {error}; "
            "start the others, or write fewer in the URL: ?replicas=1 for a single server"
        )
    return StoreUnavailable(f"the stream {wanted['name']} cannot be made: {error}")
