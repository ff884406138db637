"""Line: one append as a line of JSON.

    {"crc":"89a3c1f2","write":7,"position":8,"stream":["bank_account","acc-1"],"sequence":3,
     "count":1,"append":"5f…","events":[{"type":"deposited","payload":{"amount":100},"time":…}]}

without the breaks. `crc` is CRC-32 of everything behind it, so that checking a line needs no
parsing, and written in exactly one way, so that no bit of the line can change unnoticed. `position`
and `sequence` are those of the first of `count` events. `write` names the durable write that the
line belongs to, by the position of its first event; see `recovery` for what that is good for.
Of an event, `command`, `tags` and `metadata` are left out when there are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

from eskernel.errors import NotStorable
from eskernel.values import Event, Row, StreamId
from eskernel_stores.file.tagged import Tagger, from_json, to_json

START: Final = b'{"crc":"'
_BODY: Final = len(b'{"crc":"89a3c1f2",')
_NAME = rb'"(?:[^"\\]|\\.)*"'
_HEAD = re.compile(
    rb'"write":(\d+),"position":(\d+),"stream":(\[%b,%b\]),"sequence":(\d+),"count":(\d+),'
    rb'(?:"append":"([0-9a-f]+)",)?"events":\[' % (_NAME, _NAME)
)
_new = tuple.__new__

Tag = Callable[[bytes], Any]
"""From a packed value to what stands for it in JSON."""


class Head(NamedTuple):
    """What a line says before its events.

    Attributes:
        write: the position of the first event of the durable write the line belongs to.
        position: of the first event.
        stream: the stream id as it stands in the line; see `Head.stream_id`.
        sequence: of the first event.
        size: how many events.
        append_id: or None.
    """

    write: int
    position: int
    stream: bytes
    sequence: int
    size: int
    append_id: int | None

    @property
    def stream_id(self) -> StreamId:
        """The stream."""
        aggregate_type, aggregate_id = json.loads(self.stream)
        return aggregate_type, aggregate_id

    @property
    def last_position(self) -> int:
        """Position of the last event."""
        return self.position + self.size - 1

    @property
    def last_sequence(self) -> int:
        """Sequence of the last event."""
        return self.sequence + self.size - 1


def sealed_line(fields: dict[str, Any]) -> bytes:
    """Return fields as a line with its checksum in front; ValueError, TypeError as `to_json`."""
    body = to_json(fields).encode()[1:] + b"\n"
    return b'{"crc":"%08x",%b' % (crc32(body), body)


def is_whole(line: bytes) -> bool:
    """Return whether a line, its line break included, is as it was written."""
    return line.startswith(b'{"crc":"%08x",' % crc32(line[_BODY:]))


def event_line(
    write: int, position: int, append_id: int | None, rows: Sequence[Row], tagger: Tagger
) -> bytes:
    """Return the line of an append.

    Args:
        write: see the module.
        position: of the first event.
        append_id: or None.
        rows: sealed events of one stream.
        tagger: the calling thread's.

    Raises:
        NotStorable: a name, a tag or a command id is no text that UTF-8 can hold.
    """
    fields: dict[str, Any] = {
        "write": write,
        "position": position,
        "stream": rows[0][0],
        "sequence": rows[0][1],
        "count": len(rows),
    }
    if append_id is not None:
        fields["append"] = f"{append_id:x}"
    return tagged_line(
        "event", lambda tag: {**fields, "events": [_fields(row, tag) for row in rows]}, tagger
    )


def tagged_line(name: str, build: Callable[[Tag], dict[str, Any]], tagger: Tagger) -> bytes:
    """Return a line with packed values in it, plain where JSON holds them as they are.

    Args:
        name: what the line holds, for the error message.
        build: makes the fields, given how to write packed values.
        tagger: the calling thread's.

    Raises:
        NotStorable: a text is none that UTF-8 can hold.
    """
    try:
        try:
            return sealed_line(build(tagger.plain))
        except UnicodeEncodeError:
            raise
        except (ValueError, TypeError, RecursionError):  # a NaN, or a key that is no text
            return sealed_line(build(tagger.exact))
    except (ValueError, TypeError) as error:
        raise NotStorable(name, f"cannot be written as JSON: {error}") from error


def _fields(row: Row, tag: Tag) -> dict[str, Any]:
    _, _, name, body, header, tags, time, command_id, _, _ = row
    fields = {"type": name, "payload": tag(body), "time": time}
    if command_id is not None:
        fields["command"] = command_id
    if tags:
        fields["tags"] = tags
    if header:
        fields["metadata"] = tag(header)
    return fields


def read_head(line: bytes) -> Head | None:
    """Return the head of a line if the line is whole and one of the log's."""
    if not is_whole(line) or (found := _HEAD.match(line, _BODY)) is None:
        return None
    write, position, stream, sequence, size, append_id = found.groups()
    return _new(
        Head,
        (
            int(write),
            int(position),
            stream,
            int(sequence),
            int(size),
            None if append_id is None else int(append_id, 16),
        ),
    )


def read_events(line: bytes, tagger: Tagger, unpack: Callable[[bytes], Any]) -> list[Event]:
    """Return the events of a line.

    Args:
        line: from `event_line`.
        tagger: the calling thread's.
        unpack: what the events decode with.

    Raises:
        ValueError: the line is not as it was written.
    """
    if not is_whole(line):
        raise ValueError("the checksum does not fit")
    try:
        fields = from_json(line.decode())
        stream_id = tuple(fields["stream"])
        sequence, position = fields["sequence"], fields["position"]
        repack, events = tagger.repack, []
        for index, event in enumerate(fields["events"]):
            get = event.get
            row = (
                stream_id,
                sequence + index,
                event["type"],
                repack(event["payload"]),
                repack(event["metadata"]) if "metadata" in event else b"",
                tuple(get("tags", ())),
                event["time"],
                get("command"),
                position + index,
                unpack,
            )
            events.append(_new(Event, row))
    except (LookupError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError(f"it is not a line of this log: {error!r}") from error
    return events
