"""Session: what one front has asked a shard, and the answers it has not fetched yet."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from eskernel.actors.pool import Job
from eskernel.remote.host import Host
from eskernel.remote.wire import ASK, COMMAND, Wire, frame_of, parts_of

if TYPE_CHECKING:
    from eskernel.kernel import Kernel

PATIENCE: Final = 0.002
"""Seconds that answers which are there wait for those that are not: a call each costs more."""


class Session:
    """Takes frames in order; answers are fetched by whichever call comes next.

    So one slow command holds up the answers of its frame for `PATIENCE` at most.

    Args:
        kernel: of the shard, started.
        wire: of its domains.
    """

    def __init__(self, kernel: Kernel, wire: Wire) -> None:
        self._host = Host(kernel, wire, self._keep)
        # Guards `_ready`, `_awaited` and `_polls`: an answer is either awaited or ready.
        self._news = threading.Condition(threading.Lock())
        self._ready: list[bytes] = []
        self._awaited = 0
        self._polls = 0
        self.used = time.monotonic()

    def take(self, frame: bytes) -> deque[Job]:
        """Begin the requests of a frame; the caller lets no two threads do this at once.

        Returns:
            What is to be run after that, by any thread; see `Host.take`.
        """
        self.used = time.monotonic()
        requests = parts_of(frame)
        count = sum(request[1] in (COMMAND, ASK) for request in requests)
        with self._news:
            self._awaited += count
        return deque(self._host.take(requests))

    def fetch(self, wait: float = 0.0) -> bytes:
        """Return a frame of the answers that are there.

        Args:
            wait: seconds to wait for the first.
        """
        news = self._news
        with news:
            if wait:
                self._polls += 1
                news.wait_for(lambda: self._ready or self._awaited <= 0, wait)
                self._polls -= 1
            news.wait_for(lambda: self._awaited <= 0, PATIENCE)
            ready, self._ready = self._ready, []
        self.used = time.monotonic()
        return frame_of(ready)

    def has_answers(self) -> bool:
        """Return whether there are answers to be fetched."""
        return bool(self._ready)

    def is_idle(self, seconds: float) -> bool:
        """Return whether nothing is under way and its front was not heard of for so long."""
        return self._awaited <= 0 and time.monotonic() - self.used > seconds

    def drain(self, timeout: float) -> bool:
        """Return whether all commands have their outcome within so many seconds."""
        return self._host.drain(timeout)

    def close(self) -> None:
        """Await no more answers."""
        self._host.close()
        with self._news:
            self._awaited = 0
            self._news.notify_all()

    def _keep(self, _: int, reply: bytes) -> None:
        with self._news:
            self._ready.append(reply)
            self._awaited -= 1
            if self._polls or self._awaited <= 0:
                self._news.notify_all()
