"""Publishing: storing messages, alone or in atomic batches."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from eskernel.errors import StoreUnavailable
from eskernel_stores.jetstream.connecting.attempts import NOT_YET, Attempts
from eskernel_stores.jetstream.connecting.replies import (
    NO_RESPONDERS,
    WRONG_SEQUENCE,
    Ack,
    ApiError,
    Message,
    read_answer,
)
from eskernel_stores.jetstream.connecting.wire import Lost, Wire
from eskernel_stores.jetstream.connecting.wires import Wires

_REFUSED: Final = frozenset(
    (10054, 10097, 10109, 10174, 10175, 10177, 10179, 10199, 10200, 10201, *WRONG_SEQUENCE)
)
"""Error codes: the message itself is wrong, or comes too late. After any other, who knows."""
_RATE: Final = 4 << 20  # bytes a second that the servers take at least
_AT_ONCE: Final = 16  # batches; the server allows 50 for each stream, of all clients


class Publishing:
    """Stores messages; the coroutines are for the thread of the wires' loop.

    Args:
        wires: to the servers.
        timeout: seconds in which messages are stored, or it has failed; more for large ones.
    """

    def __init__(self, wires: Wires, timeout: float) -> None:
        self._wires = wires
        self._timeout = timeout
        self._batches = asyncio.Semaphore(_AT_ONCE)

    async def publish(self, message: Message) -> Ack:
        """Store a message; see `Connection.publish`."""
        attempts = self._attempts((message,))
        while True:
            wire = await attempts.begin()
            ack = await _sent(wire, message, attempts)
            if ack is not None:
                return ack

    async def publish_batch(self, messages: Sequence[Message]) -> Ack:
        """Store messages, all or none; see `Connection.publish_batch`."""
        attempts = self._attempts(messages)
        async with self._batches:
            while True:
                wire = await attempts.begin()
                last = await _send_all_but_last(wire, messages)
                ack = await _sent(wire, last, attempts)
                if ack is not None:
                    return _checked(ack, len(messages))

    def _attempts(self, messages: Sequence[Message]) -> Attempts:
        size = sum(len(message.payload) for message in messages)
        return Attempts(self._wires, self._timeout + size / _RATE, publishing=True)


async def _sent(wire: Wire, message: Message, attempts: Attempts) -> Ack | None:
    """Send what is answered by an Ack; None to try again."""
    subject, payload, headers = message
    try:
        reply = await wire.request(subject, payload, attempts.left, headers)
    except Lost as error:
        raise StoreUnavailable.because(error, outcome_unknown=True) from error
    except TimeoutError as error:
        raise attempts.timed_out(wire) from error
    if reply.status == NO_RESPONDERS:
        await attempts.failed(wire)
        return None
    try:
        answer = read_answer(reply.payload)
        attempts.answered(wire)
        return Ack(answer["seq"], answer.get("count", 1))
    except ApiError as error:
        if error.err_code in NOT_YET:
            await attempts.not_yet(wire, error)
            return None
        attempts.answered(wire)
        if error.err_code in _REFUSED:
            raise
        raise StoreUnavailable.because(error, outcome_unknown=True) from error
    except (ValueError, KeyError) as error:
        raise StoreUnavailable.because(error, outcome_unknown=True) from error


async def _send_all_but_last(wire: Wire, messages: Sequence[Message]) -> Message:
    """Send a batch but for what commits it, and return that.

    A batch that is not committed is forgotten by the server, so nothing is stored if this fails.
    """
    name = secrets.token_urlsafe(12)
    *before, last = (
        Message(
            subject,
            payload,
            {**headers, "Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)},
        )
        for number, (subject, payload, headers) in enumerate(messages, 1)
    )
    try:
        for subject, payload, headers in before:
            await wire.send(subject, payload, headers)
    except Lost as error:
        raise StoreUnavailable.because(error, outcome_unknown=False) from error
    return last._replace(headers={**last.headers, "Nats-Batch-Commit": "1"})


def _checked(ack: Ack, count: int) -> Ack:
    if ack.count != count:
        raise StoreUnavailable(
            f"the server says it has stored {ack.count} messages of {count}, so it may know no "
            "batches; use nats-server 2.12 or later",
            outcome_unknown=True,
        )
    return ack
