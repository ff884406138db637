"""Chunks: parts of records that do not fit into one message, under keys of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.buckets.records import Chunks, Part
from eskernel_stores.jetstream.connecting.connection import Connection
from eskernel_stores.jetstream.connecting.replies import ApiError, Message

_PAGE_BYTES: Final = 8 << 20
"""Bytes that are asked for at once."""


@contextmanager
def asking() -> Iterator[None]:
    """Raise StoreUnavailable for whatever goes wrong with a request that stores nothing."""
    try:
        yield
    except ApiError as error:
        raise StoreUnavailable(f"the server refuses: {error}") from error
    except StoreUnavailable as error:
        error.outcome_unknown = False
        raise


def fitted(subject: str, parts: Sequence[Part], room: int) -> tuple[list[Message], list[Part]]:
    """Cut what does not fit into a record.

    Args:
        subject: of the record.
        parts: highest number first. Of those that are not in chunks yet, the first have half of
            the record; the other half is left to references to chunks.
        room: bytes that a message can hold.

    Returns:
        The messages of new chunks, and the parts as they are to be in the record.
    """
    messages: list[Message] = []
    kept: list[Part] = []
    spare = room // 2
    for number, value in parts:
        if isinstance(value, Chunks):
            kept.append(Part(number, value))
        elif len(value) <= spare:
            spare -= len(value)
            kept.append(Part(number, value))
        else:
            chunks, cut = _cut(subject, value, room)
            messages += cut
            kept.append(Part(number, chunks))
    return messages, kept


def chunk_key(key: str, name: str) -> str:
    """Return what the keys of chunks begin with; their numbers follow.

    Args:
        key: of their record.
        name: their id, or `EVERYTHING`.
    """
    return f"{key}.chunk.{name}"


def _cut(subject: str, value: bytes, room: int) -> tuple[Chunks, list[Message]]:
    name = uuid4().hex[:16]
    cut = [value[start : start + room] for start in range(0, len(value), room)]
    messages = [
        Message(f"{chunk_key(subject, name)}.{number}", chunk) for number, chunk in enumerate(cut)
    ]
    return Chunks(name, len(cut), len(value)), messages


async def gathered(
    connection: Connection, stream: str, prefix: str, chunks: Chunks
) -> bytes | None:
    """Return the bytes in chunks, or None if some are not there.

    Args:
        connection: of the running loop.
        stream: of the bucket.
        prefix: what the subjects of these chunks begin with.
        chunks: how many, and how large.
    """
    start = 1
    held: dict[str, bytes] = {}
    while len(held) < chunks.messages:
        with asking():
            page = await connection.page(stream, start, f"{prefix}.*", chunks.messages, _PAGE_BYTES)
        if not page:
            break
        held.update((stored.subject, stored.payload) for stored in page)
        start = page[-1].sequence + 1
    subjects = [f"{prefix}.{number}" for number in range(chunks.messages)]
    for subject in subjects:
        if subject not in held:  # a replica that lags may have answered; the leader never does
            with asking():
                stored = await connection.last(stream, subject)
            if stored is None:
                return None
            held[subject] = stored.payload
    value = b"".join([held[subject] for subject in subjects])
    return value if len(value) == chunks.size else None


async def purge(connection: Connection, stream: str, chunks: str, before: int) -> None:
    """Purge chunks whose subjects begin with `chunks` and are at sequences less than `before`.

    Raises:
        StoreUnavailable: some may be there still.
    """
    body = {"filter": f"{chunks}.*", "seq": before}
    with asking():
        await connection.ask(f"$JS.API.STREAM.PURGE.{stream}", body)
