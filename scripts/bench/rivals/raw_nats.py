"""Messages into a stream by nats-py alone, each published with `js.publish` and acknowledged."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import nats
from nats.js.api import StreamConfig

from scripts.bench.accounts import LIVE, account
from scripts.bench.callers import MORE

_PATIENCE = 30.0  # seconds for an answer


class RawPublishes:
    """A connection, and a stream that takes what it publishes.

    Args:
        url: of a store in the cluster; the stream is made beside its own, with three replicas too.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        name = parts.path.strip("/")
        self._events, self._raw, self._subject = f"{name}-events", f"{name}-raw", f"{name}.raw"
        self._runner = asyncio.Runner()
        self._client = self._runner.run(nats.connect(f"nats://{parts.netloc}".split(",")))
        self._stream = self._client.jetstream(timeout=_PATIENCE)
        self._runner.run(self._make())

    def payload(self) -> bytes:
        """Return as many bytes as the store's newest message has."""
        return self._runner.run(self._newest())

    def publish(self, payload: bytes, count: int) -> None:
        """Publish a payload so many times, to a hundred subjects in turn.

        No more than `MORE` messages wait for their acknowledgement at a time.
        """
        subjects = iter([f"{self._subject}.{account(number % LIVE)}" for number in range(count)])

        async def some() -> None:
            for subject in subjects:
                await self._stream.publish(subject, payload, timeout=_PATIENCE)

        async def all_of_them() -> None:
            await asyncio.gather(*(some() for _ in range(MORE)))

        self._runner.run(all_of_them())

    def count(self) -> int:
        """Return how many messages are in the stream."""
        return self._runner.run(self._stream.stream_info(self._raw)).state.messages

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._client.close())
        self._runner.close()

    async def _make(self) -> None:
        await self._stream.add_stream(
            StreamConfig(name=self._raw, subjects=[f"{self._subject}.>"], num_replicas=3)
        )

    async def _newest(self) -> bytes:
        info = await self._stream.stream_info(self._events)
        message = await self._stream.get_msg(self._events, info.state.last_seq)
        return b"x" * len(message.data or b"")
