"""Bucket: a JetStream key-value bucket whose records are replaced by compare-and-set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

from eskernel.errors import CorruptStore, NotStorable, StoreUnavailable
from eskernel_stores.jetstream.buckets.chunks import asking, chunk_key, fitted, gathered, purge
from eskernel_stores.jetstream.buckets.races import LostRace
from eskernel_stores.jetstream.buckets.records import Part, Record, packed, unpacked
from eskernel_stores.jetstream.connecting.connection import HEADER_BYTES, MOST_MESSAGES, Connection
from eskernel_stores.jetstream.connecting.replies import EXPECTED, Ack, ApiError, Message, Stored
from eskernel_stores.jetstream.streams import bucket_stream, bucket_subjects

_EXPECTED_OF: Final = f"{EXPECTED}-Subject"
_DELETED: Final = {"KV-Operation": "DEL"}
"""Marks what other programs shall take for deleted."""
_READ: Final = "read"
"""Key of what readers write; all write the same."""


class Found(NamedTuple):
    """What a key holds.

    Attributes:
        sequence: of the message it is in; 0 if there is none.
        record: what is in it.
    """

    sequence: int
    record: Record


class Whole(NamedTuple):
    """A part of which all bytes are there."""

    number: int
    value: bytes


class Bucket:
    """Records by key. Every coroutine is one for the connection's loop.

    Chunks are stored in one atomic batch with the record that refers to them. So there are none
    without a record, except those which a later record has dropped: some record says so, until
    they are purged.

    Args:
        connection: to the servers.
        name: of the bucket.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._stream = bucket_stream(name)
        self._prefix = bucket_subjects(name)

    async def last(self, key: str) -> Stored | None:
        """Return a key's message, as it is to the server that leads the stream; see `confirm`."""
        with asking():
            return await self._connection.last(self._stream, self._subject(key))

    async def find(self, key: str) -> Found:
        """Return the record of a key; an empty one if there is none.

        Raises:
            CorruptStore: it is damaged.
        """
        stored = await self.last(key)
        if stored is None:
            return Found(0, Record())
        return Found(stored.sequence, unpacked(stored.payload, self.shown(key)))

    async def load(self, key: str, *, confirmed: bool) -> Whole | None:
        """Return a record's first part, or None if it has none.

        Chunks may be purged while they are read. Then there is another record, which is read
        instead: each round that fails here is a write of somebody's that succeeded.

        Args:
            key: of the record.
            confirmed: whether it must be the newest when this began; see `confirm`.

        Raises:
            CorruptStore: the record is damaged, or chunks of it are missing.
            LostRace: it cannot be confirmed, because somebody is writing it.
        """
        looked_at = 0
        while True:
            sequence, record = await self.find(key)
            if confirmed:
                await self.confirm(key, sequence)
            if not record.parts:
                return None
            number, value = record.parts[0]
            if isinstance(value, bytes):
                return Whole(number, value)
            chunks = f"{self._prefix}{chunk_key(key, value.id)}"
            whole = await gathered(self._connection, self._stream, chunks, value)
            if whole is not None:
                return Whole(number, whole)
            if sequence == looked_at:
                raise CorruptStore(f"chunks of {self.shown(key)} are missing; delete it")
            looked_at = sequence

    async def confirm(self, key: str, sequence: int) -> None:
        """Make sure that what was found at a key is the newest.

        A server that was cut off, or stood still, takes itself for the leader until it learns
        better, and answers with what is old. To write, it needs the others. So this writes a
        message of no importance, on condition that the key is as it was found.

        Raises:
            LostRace: it is not, or somebody is writing it.
            StoreUnavailable: nobody knows.
        """
        headers = {**_DELETED, EXPECTED: str(sequence), _EXPECTED_OF: self._subject(key)}
        with asking():
            await self._publish([Message(self._subject(_READ), b"", headers)])

    def message(self, key: str, payload: bytes) -> Message:
        """Return what puts a payload at a key."""
        return Message(self._subject(key), payload)

    def messages(
        self, key: str, parts: Sequence[Part], before: Record | None = None
    ) -> tuple[list[Message], Record]:
        """Return what puts a record at a key.

        Args:
            key: where.
            parts: highest number first; those that do not fit are cut into chunks.
            before: what is there. The new record says which of its chunks are dropped.

        Returns:
            Messages, the last of which has the record, and the record.
        """
        room = self._room()
        chunks, kept = fitted(f"{self._prefix}{key}", parts, room)
        record = Record(tuple(kept))
        if before is not None:
            ids = before.chunk_ids() - record.chunk_ids()
            record = record._replace(dropped=tuple(sorted(ids)))
        headers = {} if kept else _DELETED
        return [*chunks, Message(self._subject(key), packed(record), headers)], record

    async def write(
        self, messages: Sequence[Message], expected: int, dropped: Iterable[str]
    ) -> None:
        """Store messages at once, if the key of the last is as it was when it was read.

        That key guards all others: whoever writes one of them writes it too.

        Args:
            messages: at least one.
            expected: sequence of the last one's key; 0 if there was nothing.
            dropped: keys of chunks that are to be purged after that.

        Raises:
            LostRace: it has changed since; nothing is stored.
            NotStorable: this is more than the server takes at once; nothing is stored.
            StoreUnavailable: see its `outcome_unknown`.
        """
        *others, last = messages
        self._check(messages)
        headers = {**last.headers, EXPECTED: str(expected)}
        ack = await self._publish([*others, last._replace(headers=headers)])
        with suppress(StoreUnavailable):  # it is stored; the next who writes will purge these
            await self.purge(dropped, ack.sequence - len(others))

    async def purge(self, keys: Iterable[str], before: int) -> None:
        """Purge chunks that nothing refers to any more.

        Args:
            keys: of `chunk_key`.
            before: sequence at and behind which none are touched: those may be somebody else's.

        Raises:
            StoreUnavailable: some may be there still.
        """
        for key in keys:
            await purge(self._connection, self._stream, f"{self._prefix}{key}", before)

    async def now(self) -> float:
        """Return the time by the clock of the server that leads the stream, in Unix seconds."""
        with asking():
            info = await self._connection.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        return unix_seconds(info["ts"])

    def shown(self, key: str) -> str:
        """Return a key as messages name it."""
        return f"key {key} of the bucket {self._name}"

    def _subject(self, key: str) -> str:
        return f"{self._prefix}{key}"

    def _room(self) -> int:
        return self._connection.max_payload - HEADER_BYTES

    async def _publish(self, messages: Sequence[Message]) -> Ack:
        try:
            return await self._connection.publish_batch(messages)
        except ApiError as error:
            if error.is_wrong_sequence:  # it has changed, or is just being changed
                raise LostRace from error
            raise StoreUnavailable(f"the server refuses: {error}") from error

    def _check(self, messages: Sequence[Message]) -> None:
        room = self._room()
        if len(messages) > MOST_MESSAGES:
            size = sum(len(message.payload) for message in messages)
            raise NotStorable(
                "state",
                f"{size} bytes in {len(messages)} messages are too much for one write: the server "
                f"takes {MOST_MESSAGES * room} bytes, in {MOST_MESSAGES} messages",
            )
        if len(messages[-1].payload) > room:
            raise NotStorable(
                "state", f"too many large ones: the list of their chunks is over {room} bytes"
            )


def unix_seconds(text: str) -> float:
    """Return a time of the server's, which is RFC 3339 in UTC, as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()
