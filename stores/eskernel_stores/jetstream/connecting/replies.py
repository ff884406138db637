"""What JetStream answers, taken apart."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

WRONG_SEQUENCE: Final = frozenset((10071, 10164))
"""Error codes: a subject's last message is not the one that was expected."""

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
"""The header that says which message must be its subject's last."""

NO_RESPONDERS: Final = 503
"""The status when nobody listens."""

NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059

RawReply = tuple[bytes, bytes]
"""Headers and payload of what came back, where there are thousands."""

_STATUS: Final = len(b"NATS/1.0")  # where a space stands if the server itself answers
_SUBJECT: Final = b"\r\nNats-Subject: "
_SEQUENCE: Final = b"\r\nNats-Sequence: "
_TIME: Final = b"\r\nNats-Time-Stamp: "


class Reply(NamedTuple):
    """What came back.

    Attributes:
        headers: as they came; empty for none.
        payload: the rest.
    """

    headers: bytes
    payload: bytes

    @property
    def status(self) -> int:
        """The server's own status, for example 503 when nobody listens; 0 for none."""
        return int(self.headers[_STATUS + 1 : _STATUS + 4]) if is_status(self.headers) else 0


class Message(NamedTuple):
    """What is published.

    Attributes:
        subject: where to.
        payload: bytes.
        headers: by name.
    """

    subject: str
    payload: bytes
    headers: Mapping[str, str] = {}


class Stored(NamedTuple):
    """A message as it is stored.

    Attributes:
        subject: where it was published.
        sequence: its number in the stream, from 1 on.
        payload: bytes.
        time: when it was stored, by the clock of the server that led the stream; RFC 3339, UTC.
    """

    subject: str
    sequence: int
    payload: bytes
    time: str


class Ack(NamedTuple):
    """That messages are stored.

    Attributes:
        sequence: of the last one, in the stream.
        count: how many; they follow one another.
    """

    sequence: int
    count: int  # type: ignore[assignment] # of a tuple it is a method, which nobody asks for


class ApiError(Exception):
    """JetStream has refused.

    Attributes:
        code: of HTTP's kind.
        err_code: JetStream's own number for it.
        description: in words.
    """

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description

    @property
    def is_wrong_sequence(self) -> bool:
        """Whether a subject's last message is not the one that was expected."""
        return self.err_code in WRONG_SEQUENCE


def is_status(headers: bytes) -> bool:
    """Return whether the server itself answered, with nothing but a status."""
    return headers[_STATUS : _STATUS + 1] == b" "


def read_answer(payload: bytes) -> dict[str, Any]:
    """Return an answer of JetStream's.

    Raises:
        ApiError: it refuses.
        ValueError: it is none.
    """
    answer = json.loads(payload)
    if not isinstance(answer, dict):
        raise ValueError(f"{payload[:100]!r} is no answer")  # noqa: TRY004 - of bytes
    if error := answer.get("error"):
        raise ApiError(
            error.get("code", 0), error.get("err_code", 0), error.get("description", "refused")
        )
    return answer


def read_message(message: Mapping[str, Any]) -> Stored:
    """Return a message as JetStream's API gives it."""
    payload = b64decode(message.get("data", ""))
    return Stored(message["subject"], message["seq"], payload, message["time"])


def read_direct(headers: bytes, payload: bytes) -> Stored:
    """Return a message as a direct get gives it."""
    subject, sequence, time = (_field(headers, name) for name in (_SUBJECT, _SEQUENCE, _TIME))
    return Stored(subject.decode(), int(sequence), payload, time.decode())


def sequence_of(headers: bytes) -> int:
    """Return the number in its stream of a message as a direct get gives it."""
    start = headers.rindex(_SEQUENCE) + len(_SEQUENCE)
    return int(headers[start : headers.index(b"\r", start)])


def subject_of(headers: bytes) -> str:
    """Return the subject of a message as a direct get gives it."""
    return _field(headers, _SUBJECT).decode()


def _field(headers: bytes, name: bytes) -> bytes:
    # The server's own fields come after those that were published, which may have the same names.
    start = headers.rindex(name) + len(name)
    return headers[start : headers.index(b"\r", start)]
