"""What every durable store checks before it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import index
from typing import Any

from eskernel.errors import NotStorable
from eskernel.values import Checkpoint, Event, Row, StreamId
from eskernel_stores.bounds import LAST

_UNPACK = 9


def checked_rows(
    stream_id: StreamId,
    events: Sequence[Event],
    expected_sequence: int,
    pack: Callable[[Any, str], bytes],
    unpack: Callable[[bytes], Any],
) -> list[Row]:
    """Return sealed events that follow upon a sequence.

    Args:
        stream_id: the stream they belong to.
        events: sealed or open.
        expected_sequence: the sequence before the first.
        pack: from a value and its name to bytes, as `Codec.pack`.
        unpack: the way back, as `Codec.unpack`.

    Raises:
        ValueError: no events, sequences with holes, or an event of another stream.
        NotStorable: an open event holds something that cannot be stored.
    """
    if not events:
        raise ValueError("an append needs at least one event")
    rows: list[Row] = []
    for sequence, event in enumerate(events, expected_sequence + 1):
        row = event if event[_UNPACK] is not None else event.sealed(pack, unpack)
        if row[1] != sequence or type(row[1]) is not int or row[0] != stream_id:
            raise ValueError(f"{event} is not event {sequence} of stream {stream_id}")
        rows.append(row)
    return rows


def check_event(row: Row) -> None:
    """Raise NotStorable unless every store can keep what is in a sealed event beside its bytes."""
    _, sequence, name, _, _, tags, time, command_id, _, _ = row
    check_text("type", name)
    for tag in tags:
        check_text("tags", tag)
    if command_id is not None:
        check_text("command_id", command_id)
    if not isinstance(time, int) or abs(time) > LAST:
        raise NotStorable("timestamp", f"{time!r} is no whole number of 64 bits")
    if not 0 < sequence <= LAST:
        raise NotStorable("sequence", f"{sequence} is not within 1 to {LAST}")


def check_stream(stream_id: StreamId) -> None:
    """Raise NotStorable unless the database can keep both names."""
    if not isinstance(stream_id, tuple) or len(stream_id) != 2:
        raise NotStorable("stream_id", f"{stream_id!r} is no tuple of two strings")
    for name, value in zip(("aggregate_type", "aggregate_id"), stream_id, strict=True):
        check_text(name, value)


def check_checkpoints(name: str, epoch: int, slots: Mapping[str, Checkpoint | None]) -> None:
    """Raise NotStorable unless every store can keep these checkpoints."""
    check_text("name", name)
    _check_number("epoch", epoch)
    for slot, checkpoint in slots.items():
        check_text("slot", slot)
        if checkpoint is None:
            continue
        _check_number("position", checkpoint.position)
        check_text("version", checkpoint.version)
        for field in ("state", "notes"):
            if not isinstance(packed := getattr(checkpoint, field), bytes):
                raise NotStorable(field, f"must be bytes, not {type(packed).__name__}: pack it")


def _check_number(name: str, number: Any) -> None:
    if type(number) is not int or not 0 <= number <= LAST:
        raise NotStorable(name, f"{number!r} is no whole number of 0 to {LAST}")


def check_text(name: str, text: Any) -> None:
    """Raise NotStorable unless a value is a string that every database can keep."""
    if not isinstance(text, str):
        raise NotStorable(name, f"must be a string, not {type(text).__name__}")
    if "\0" in text:
        raise NotStorable(name, f"{text!r} must not contain NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotStorable(name, f"{text!r} must not contain lone surrogates") from None


def append_id_bytes(append_id: Any) -> bytes:
    """Return an append id as 16 bytes; NotStorable unless it is a number they can hold."""
    try:
        return index(append_id).to_bytes(16)
    except (TypeError, OverflowError) as error:
        raise NotStorable(
            "append_id", f"{append_id!r} is no whole number of 0 to 2**128 - 1"
        ) from error
