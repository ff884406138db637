"""Fingerprints: what an event says, whatever the bytes a store keeps it in.

Backends differ in how they keep a value, so digests of stored bytes would prove nothing. Every
value is decoded as its store decodes it, and packed again, canonically.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from typing import Any

from msgpack import packb

from eskernel.codec import Codec
from eskernel.errors import CorruptStore, InvalidDomain, NotStorable
from eskernel.values import Event


class Fingerprints:
    """Makes the fingerprints of one store's events.

    It packs declared types without being told them: it meets them in what the store decodes. Each
    store has fingerprints of its own, as two stores may know two classes under one name.
    """

    def __init__(self) -> None:
        self._codec = Codec()
        self._types: dict[type, None] = {}

    def of(self, event: Event) -> bytes:
        """Return 32 bytes, equal only for events equal in everything but their position.

        Values are as strictly equal as they are stored: in type, order of keys, digits, time zone.

        Raises:
            InvalidDomain: the event holds a type that is not declared to its store.
            CorruptStore: its bytes cannot be decoded.
        """
        try:
            payload, metadata = event.payload, event.metadata
        except InvalidDomain as error:
            raise InvalidDomain(
                f"{named(event)} cannot be decoded: {error}; a copy is verified by what its events "
                "say, so open both stores with the domains' types: "
                "open_store(url, types=declared_types(domain))"
            ) from error
        except CorruptStore as error:
            raise CorruptStore(
                f"{named(event)} cannot be decoded: {error}", event.stream_id, event.sequence
            ) from error
        body = self.pack(payload, "payload")
        header = self.pack(dict(metadata), "metadata") if metadata else b""
        return sha256(b"".join((facts_of(event, len(body)), body, header))).digest()

    def pack(self, value: Any, name: str) -> bytes:
        """Return the canonical bytes of a value, as `Codec.pack`."""
        try:
            return self._codec.pack(value, name)
        except NotStorable:
            known = len(self._types)
            self._types.update(dict.fromkeys(_types_in(value)))
            if len(self._types) == known:
                raise
        self._codec = Codec(self._types)
        return self._codec.pack(value, name)


def facts_of(event: Event, length: int) -> bytes:
    """Return everything in an event but payload, metadata and position, and a length beside it.

    By a packer that is not strict: it takes a subclass of str or int for what it is equal to.
    """
    stream_id, sequence, name, _, _, tags, timestamp, command_id, _, _ = event
    facts = (stream_id, sequence, name, tags, timestamp, command_id, length)
    packed: bytes = packb(facts, unicode_errors="surrogatepass")
    return packed


def named(event: Event) -> str:
    """Return the words for an event in a message."""
    return f"event {event.sequence} of stream {event.stream_id}"


def _types_in(value: Any) -> Iterator[type]:
    """Yield the dataclasses and Enum classes in a value."""
    parts = [value]
    for part in parts:  # grows on the way
        if isinstance(part, Enum):
            yield type(part)
        elif is_dataclass(part):
            yield type(part)
            parts += (getattr(part, field.name) for field in fields(part))
        elif isinstance(part, dict):
            parts += (*part, *part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            parts += part
