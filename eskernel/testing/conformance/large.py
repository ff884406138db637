"""Large payloads: a megabyte each, and several in one write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eskernel.contracts import Commit, EventStore
from eskernel.testing.conformance.batches import Store
from eskernel.testing.conformance.tools import (
    OTHER,
    STREAM,
    add,
    log_of,
    made,
    payloads_of,
    require,
    require_equal,
    stream_of,
)
from eskernel.values import Event

MEGABYTE: Final = 2**20


def _bytes(seed: int) -> bytes:
    """Return a megabyte in which no byte is where it is in that of another seed."""
    return bytes((seed + byte) % 256 for byte in range(256)) * (MEGABYTE // 256)


def _require_alike(found: list[Any], expected: list[Any], what: str) -> None:
    """Compare without showing megabytes."""
    require_equal(len(found), len(expected), f"number of {what}")
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        require(one == other, f"number {number} of the {what} came back changed")


def a_payload_of_a_megabyte_comes_back(store: EventStore) -> None:
    """Bytes, text and ten thousand small things; as metadata too."""
    lines = [{"line": number, "text": f"line {number} " * 8} for number in range(10_000)]
    payloads: list[Any] = [_bytes(0), "\u00e9x'" * (MEGABYTE // 4), lines]
    for sequence, payload in enumerate(payloads):
        add(store, STREAM, sequence, payload)
    _require_alike(payloads_of(store, STREAM), payloads, "large payloads")
    event = Event(OTHER, 1, "happened", None, {"document": _bytes(1)})
    store.append(OTHER, [event], expected_sequence=0)
    metadata = [event.metadata["document"] for event in stream_of(store, OTHER)]
    _require_alike(metadata, [_bytes(1)], "large metadata")


def an_append_of_several_megabytes_is_stored_whole(store: EventStore) -> None:
    """Small events stand between the large ones; stream and log have them all."""
    payloads = list(_interleaved(6))
    last = add(store, STREAM, 0, *payloads)
    require_equal(store.last_position(), last, "the last position")
    _require_alike(payloads_of(store, STREAM), payloads, "payloads of the stream")
    _require_alike([event.payload for event in log_of(store)], payloads, "payloads of the log")
    add(store, STREAM, len(payloads), "small")
    require_equal(payloads_of(store, STREAM)[-1], "small", "the payload after large ones")


def a_batch_of_several_megabytes_is_stored(store: Store) -> None:
    """One large payload in each commit, and two that chain; small commits stand between them."""
    payloads = list(_interleaved(6))
    streams = [("document", str(number)) for number in range(len(payloads))]
    commits = [
        Commit(stream_id, made(stream_id, 0, payload), 0)
        for stream_id, payload in zip(streams, payloads, strict=True)
    ]
    commits.append(Commit(streams[0], made(streams[0], 1, payloads[2]), 1))
    results = store.append_batch(commits)
    positions = [event.position for event in log_of(store)]
    require_equal(list(results), positions, "results of the batch")
    found = [event.payload for event in log_of(store)]
    _require_alike(found, [*payloads, payloads[2]], "payloads of the log")
    _require_alike(payloads_of(store, streams[0]), [payloads[0], payloads[2]], "chained payloads")


def _interleaved(count: int) -> Iterator[Any]:
    for number in range(count):
        yield _bytes(number)
        yield number


CHECKS = (a_payload_of_a_megabyte_comes_back, an_append_of_several_megabytes_is_stored_whole)
BATCH_CHECKS = (a_batch_of_several_megabytes_is_stored,)
