"""Index file: the index of a full segment, so that opening need not read the segment.

It is never the truth: one that is missing, damaged or of another segment is made again.
"""

from __future__ import annotations

import sys
from array import array
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from msgpack import packb, unpackb

from eskernel_stores.file.folder import replace_file
from eskernel_stores.file.index import Index
from eskernel_stores.file.journal import warn

_FORMAT: Final = f"eskernel index 1 {sys.byteorder}\n".encode()
_CHECKSUM: Final = 4


def store_index(path: Path, index: Index, base: int, length: int, last_position: int) -> None:
    """Write the index file of a segment; failing costs time when opening, and is logged.

    Args:
        path: of the segment.
        index: of the segment.
        base: address of the segment's first byte.
        length: of the segment, in bytes.
        last_position: of its last event.
    """
    streams: list[Any] = []
    for (aggregate_type, aggregate_id), appends in index.streams.items():
        streams += (aggregate_type, aggregate_id, appends.tobytes())
    arrays = (index.positions.tobytes(), index.addresses.tobytes())
    body = packb([path.name, base, length, last_position, *arrays, streams])
    try:
        checksum = crc32(body).to_bytes(_CHECKSUM, "big")
        replace_file(index_path(path), _FORMAT + checksum + body)
    except OSError as error:
        warn("index_not_stored", segment=str(path), error=repr(error))


def load_index(path: Path, base: int, length: int) -> tuple[Index, int] | None:
    """Return the index of a segment and its last position, if its index file is there and fits.

    Args:
        path: of the segment.
        base: address of its first byte.
        length: of the segment, in bytes.
    """
    try:
        data = index_path(path).read_bytes()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            warn("index_not_read", segment=str(path), error=repr(error))
        return None
    start = len(_FORMAT) + _CHECKSUM
    body = memoryview(data)[start:]
    if data[:start] != _FORMAT + crc32(body).to_bytes(_CHECKSUM, "big"):
        warn("index_damaged", segment=str(path))
        return None
    name, its_base, its_length, last_position, positions, addresses, streams = unpackb(body)
    if (name, its_base, its_length) != (path.name, base, length):
        return None
    index = Index()
    index.positions.frombytes(positions)
    index.addresses.frombytes(addresses)
    parts = iter(streams)
    for aggregate_type, aggregate_id, appends in zip(parts, parts, parts, strict=True):
        index.streams[sys.intern(aggregate_type), aggregate_id] = array("Q", appends)
    return index, last_position


def index_path(segment: Path) -> Path:
    """Return where the index of a segment is."""
    return segment.with_suffix(".index")
