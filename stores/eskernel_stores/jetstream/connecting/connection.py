"""Connection: requests to JetStream, over one wire after another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.attempts import NOT_YET, Attempts
from eskernel_stores.jetstream.connecting.publishing import Publishing
from eskernel_stores.jetstream.connecting.replies import (
    NO_MESSAGE,
    NO_RESPONDERS,
    Ack,
    ApiError,
    Message,
    RawReply,
    Reply,
    Stored,
    read_answer,
    read_direct,
    read_message,
)
from eskernel_stores.jetstream.connecting.wire import Lost, Wire
from eskernel_stores.jetstream.connecting.wires import Wires

MOST_MESSAGES: Final = 1000
"""Messages of one batch, by the server's limit."""

HEADER_BYTES: Final = 512
"""Of a message's size: more than its headers ever take."""

_API: Final = "$JS.API"
_ENDS: Final = (204, 404)  # the status after a page, and that of an empty one


class Connection:
    """Requests to JetStream; the coroutines are for the thread of the wires' loop.

    Args:
        wires: where to send them.
        timeout: seconds in which each is done or has failed; more for large messages.
    """

    def __init__(self, wires: Wires, timeout: float) -> None:
        self._wires = wires
        self._timeout = timeout
        self._publishing = Publishing(wires, timeout)

    @property
    def max_payload(self) -> int:
        """Bytes of headers and payload the servers take in one message."""
        return self._wires.max_payload

    async def ask(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API, again and again until there is an answer or the time is over.

        Args:
            subject: of the request, for example `$JS.API.STREAM.INFO.orders`.
            body: the request; None for an empty one.

        Raises:
            ApiError: it refuses.
            StoreUnavailable: nobody answers.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        attempts = Attempts(self._wires, self._timeout)
        while True:
            wire = await attempts.begin()
            reply = await _asked(wire, subject, payload, attempts)
            if reply is None:
                continue
            try:
                answer = read_answer(reply.payload)
            except ApiError as error:
                if error.err_code in NOT_YET:
                    await attempts.not_yet(wire, error)
                    continue
                attempts.answered(wire)
                raise
            except ValueError as error:
                raise StoreUnavailable.because(error, outcome_unknown=False) from error
            attempts.answered(wire)
            return answer

    async def publish(self, message: Message) -> Ack:
        """Store a message.

        Raises:
            ApiError: it is refused.
            StoreUnavailable: it is not known to be stored; `outcome_unknown` tells whether it
                may be all the same.
        """
        return await self._publishing.publish(message)

    async def publish_batch(self, messages: Sequence[Message]) -> Ack:
        """Store messages of one stream, all or none, one after another; raises as `publish`.

        Args:
            messages: 1 to `MOST_MESSAGES`.
        """
        if len(messages) == 1:
            return await self._publishing.publish(messages[0])
        return await self._publishing.publish_batch(messages)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Return the last message of a subject, or None; asks the stream's leader.

        A leader that was cut off a few seconds ago may not know yet that there is another.

        Raises:
            ApiError, StoreUnavailable: as `ask`.
        """
        return await self._message(stream, {"last_by_subj": subject})

    async def get(self, stream: str, sequence: int) -> Stored | None:
        """Return the message with a number, or None; asks and raises as `last`."""
        return await self._message(stream, {"seq": sequence})

    async def next(self, stream: str, subject: str, sequence: int) -> Stored | None:
        """Return a subject's first message of a number on, or None; asks and raises as `last`."""
        return await self._message(stream, {"seq": sequence, "next_by_subj": subject})

    async def page(
        self, stream: str, sequence: int, subject: str | None, count: int, max_bytes: int
    ) -> list[Stored]:
        """Return messages of a number on, in order; see `raw_page`."""
        replies = await self.raw_page(stream, sequence, subject, count, max_bytes)
        return [read_direct(headers, payload) for headers, payload in replies]

    async def raw_page(
        self, stream: str, sequence: int, subject: str | None, count: int, max_bytes: int
    ) -> list[RawReply]:
        """Return messages of a number on, in order, as the server sends them.

        Any replica may answer, so that the last messages may be missing, or all.

        Args:
            stream: which one.
            sequence: the number.
            subject: only messages of this subject; None for all.
            count: how many at most.
            max_bytes: of subjects, headers and payloads, after which the page ends.

        Raises:
            ApiError, StoreUnavailable: as `ask`.
        """
        body: dict[str, Any] = {"seq": sequence, "batch": count, "max_bytes": max_bytes}
        if subject is not None:
            body["next_by_subj"] = subject
        payload = json.dumps(body).encode()
        attempts = Attempts(self._wires, self._timeout)
        while True:
            replies = await _collected(f"{_API}.DIRECT.GET.{stream}", payload, attempts)
            if replies is not None:
                return replies

    def leave(self, since: float) -> None:
        """Go to another server, if the connection has stood since a time of the loop's clock."""
        self._wires.leave(since)

    async def _message(self, stream: str, which: Mapping[str, Any]) -> Stored | None:
        try:
            answer = await self.ask(f"{_API}.STREAM.MSG.GET.{stream}", which)
        except ApiError as error:
            if error.err_code == NO_MESSAGE:
                return None
            raise
        return read_message(answer["message"])


async def _asked(wire: Wire, subject: str, payload: bytes, attempts: Attempts) -> Reply | None:
    """Return the answer to a question; None to ask again, having waited a little."""
    try:
        reply = await wire.request(subject, payload, attempts.patience)
    except (Lost, TimeoutError) as error:
        await attempts.failed(wire, error)
        return None
    if reply.status == NO_RESPONDERS:
        await attempts.failed(wire)
        return None
    return reply


async def _collected(subject: str, payload: bytes, attempts: Attempts) -> list[RawReply] | None:
    """Return a page; None to ask for it again, having waited a little."""
    wire = await attempts.begin()
    try:
        replies, end = await wire.collect(subject, payload, attempts.patience)
    except (Lost, TimeoutError) as error:
        await attempts.failed(wire, error)
        return None
    if end.status == NO_RESPONDERS:
        await attempts.failed(wire)
        return None
    attempts.answered(wire)
    if end.status not in _ENDS:
        raise ApiError(end.status, 0, end.headers.decode(errors="replace").strip())
    return replies
