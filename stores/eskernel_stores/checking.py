"""What every durable store checks before it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import index
from typing import Any

from eskernel.errors import NotStorable
from eskernel.values import Checkpoint, Event, Row, StreamId

_UNPACK = 9
_LAST = 2**63 - 1


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
    if type(number) is not int or not 0 <= number <= _LAST:
        raise NotStorable(name, f"{number!r} is no whole number of 0 to {_LAST}")


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
