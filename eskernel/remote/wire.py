"""Wire: requests and replies as bytes.

A frame is a msgpack array of requests, or of replies. Each is an array, packed on its own, so that
what cannot be packed fails its sender alone:

| request | fields |
|---|---|
| command | id, 0, aggregate type, aggregate id, type, payload |
| command with more | the same, then command id, expected sequence, metadata, tags |
| ask | id, 1, name, arguments |
| withdrawal | id of the command that is not to begin any more, 2 |
| stop | 0, 3, seconds for what is under way |

| reply | fields |
|---|---|
| accepted | id, 0, sequence, position, rows; see `outcomes`; the stream, if it is another |
| failed | id, 1, failure; see `failures` |
| value | id, 2, value |
| leaving: nothing more is to be sent | 0, 3 |

Payload, metadata, arguments, values and failures are bytes of a `Codec`, which alone knows the
types a domain declares; no bytes stand for None. Both ends must be of one release of eskernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgpack import Packer, unpackb

from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.codec import Codec
from eskernel.errors import NotStorable
from eskernel.remote.failures import PLAIN, failure_to_fields, fields_to_failure
from eskernel.remote.outcomes import accepted_to_fields, fields_to_accepted
from eskernel.values import NO_METADATA, Accepted, Command, StreamId

COMMAND, ASK, WITHDRAWAL, STOP = 0, 1, 2, 3
ACCEPTED, FAILED, VALUE, LEAVING = 0, 1, 2, 3
MAX_PARTS: Final = 512
"""Requests or replies in a frame; more would keep the first waiting for the last."""
_new = tuple.__new__


class Ask(NamedTuple):
    """A question to the kernel in another process.

    Attributes:
        name: of an entry of `eskernel.remote.asks`.
        arguments: its.
    """

    name: str
    arguments: tuple[Any, ...]


class Wire:
    """Packs and unpacks; threads share one freely.

    Args:
        domains: by aggregate type; the same at both ends.
        projections: by name, what packs their states; likewise.
    """

    def __init__(
        self, domains: Mapping[str, BoundDomain], projections: Mapping[str, Codec]
    ) -> None:
        self.domains = domains
        self.projections = projections
        self._unpacks = {name: domain.unpack for name, domain in domains.items()}
        # A packer may be used by one thread at a time; taken from here, and put back after success.
        self._idle: list[Callable[[Any], bytes]] = []

    def _pack(self, fields: Any) -> bytes:
        try:
            pack = self._idle.pop()
        except IndexError:
            pack = Packer().pack
        try:
            data: bytes = pack(fields)
        except (OverflowError, UnicodeEncodeError) as error:
            raise NotStorable("its fields", str(error)) from error
        self._idle.append(pack)
        return data

    # Requests.

    def pack_command(self, number: int, command: Command) -> bytes:
        """Return a command as a request.

        Args:
            number: of the request.
            command: checked, and of a known aggregate type.

        Raises:
            NotStorable: payload or metadata hold what cannot be packed, the type a lone surrogate,
                or the expected sequence has more than 64 bits.
        """
        kind, aggregate_id, name, payload, command_id, expected, metadata, tags = command
        pack = self.domains[kind].pack
        body = b"" if payload is None else pack(payload, "payload")
        if command_id is None and expected is None and not tags and not metadata:
            return self._pack((number, COMMAND, kind, aggregate_id, name, body))
        header = pack(dict(metadata), "metadata") if metadata else b""
        more = (command_id, expected, header, tags)
        return self._pack((number, COMMAND, kind, aggregate_id, name, body, *more))

    def pack_ask(self, number: int, ask: Ask) -> bytes:
        """Return a question as a request; raises NotStorable as `pack_command`."""
        return self._pack((number, ASK, ask.name, PLAIN.pack(ask.arguments, "arguments")))

    def pack_withdrawal(self, number: int) -> bytes:
        """Return the withdrawal of a command's request."""
        return self._pack((number, WITHDRAWAL))

    def pack_stop(self, seconds: float) -> bytes:
        """Return the request to stop; nobody answers it."""
        return self._pack((0, STOP, seconds))

    def unpack_command(self, request: Sequence[Any]) -> Command:
        """Return the command of a request."""
        _, _, kind, aggregate_id, name, body, *more = request
        unpack = self._unpacks[kind]
        payload = unpack(body) if body else None
        if not more:
            return _new(Command, (kind, aggregate_id, name, payload, None, None, NO_METADATA, ()))
        command_id, expected, header, tags = more
        metadata = unpack(header) if header else NO_METADATA
        optional = (command_id, expected, metadata, tuple(tags))
        return _new(Command, (kind, aggregate_id, name, payload, *optional))

    def unpack_ask(self, request: Sequence[Any]) -> Ask:
        """Return the question of a request."""
        _, _, name, arguments = request
        return Ask(name, PLAIN.unpack(arguments))

    # Replies.

    def pack_outcome(self, number: int, stream_id: StreamId, outcome: Any) -> bytes:
        """Return what became of a command on a stream as a reply."""
        if outcome.__class__ is Accepted:
            stored_in, fields = accepted_to_fields(outcome)
            if stored_in != stream_id:  # a middleware has passed another command on
                fields.append(stored_in)
            return self._pack((number, ACCEPTED, *fields))
        return self._pack_failure(number, outcome, self.domains[stream_id[0]].pack)

    def pack_value(self, number: int, value: Any) -> bytes:
        """Return the answer to a question as a reply, an exception as what it is."""
        if isinstance(value, BaseException):
            return self._pack_failure(number, value, PLAIN.pack)
        return self._pack((number, VALUE, PLAIN.pack(value, "answer")))

    def pack_leaving(self) -> bytes:
        """Return what a process says that wants to end, as a reply to no request."""
        return self._pack((0, LEAVING))

    def _pack_failure(
        self, number: int, error: BaseException, pack: Callable[[Any, str], bytes]
    ) -> bytes:
        return self._pack((number, FAILED, pack(failure_to_fields(error, pack), "failure")))

    def outcome_of(self, reply: list[Any], stream_id: StreamId) -> Accepted | Exception:
        """Return what became of a command on a stream."""
        if reply[1] == ACCEPTED:
            _, _, sequence, position, rows, *elsewhere = reply
            stored_in = tuple(elsewhere[0]) if elsewhere else stream_id
            unpack = self._unpacks[stored_in[0]]
            return fields_to_accepted(stored_in, [sequence, position, rows], unpack)
        return fields_to_failure(self._unpacks[stream_id[0]](reply[2]), self._unpacks)

    def value_of(self, reply: list[Any]) -> Any:
        """Return the answer to a question, or the exception that it is."""
        if reply[1] == VALUE:
            return PLAIN.unpack(reply[2])
        return fields_to_failure(PLAIN.unpack(reply[2]), self._unpacks)


def frame_of(parts: Sequence[bytes]) -> bytes:
    """Return requests, or replies, as one frame."""
    head: bytes = Packer().pack_array_header(len(parts))
    return head + b"".join(parts)


def parts_of(frame: bytes) -> list[list[Any]]:
    """Return the requests, or replies, of a frame."""
    return unpackb(frame)  # type: ignore[no-any-return]
