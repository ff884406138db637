"""Line: the calls of one front to one actor, in one session.

One frame is under way at a time, and takes along all that has come meanwhile: the more callers,
the larger the frames, and the less each pays of what a call costs. What is not answered by the
end of its frame's call is fetched by polls beside the next frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

import ray

from eskernel.ray.answers import DONE
from eskernel.ray.slot import RaySlot
from eskernel.remote.wire import frame_of

MAX_PARTS: Final = 512
"""Requests in a frame; more would keep the first waiting for the last."""
_FRESH: Final = 0.2
"""Seconds after its last answer for which an actor is taken for the one to ask."""


class Line:
    """A session with an actor; `run` is one thread's business, everything else anybody's.

    Args:
        actor: the handle.
        session: begun there.
        slot: whose calls are sent.
        find: returns the present actor of the shard; raises if there is none.
    """

    def __init__(self, actor: Any, session: bytes, slot: RaySlot, find: Callable[[], Any]) -> None:
        self._actor = actor
        self._session = session
        self._slot = slot
        self._find = find
        self._take: Callable[[int], list[bytes]] = lambda _: []
        self._wake: SimpleQueue[bool] = SimpleQueue()
        # Set by whoever wakes the sender, cleared by the sender before it looks: a call that is
        # there after the look finds it cleared.
        self._told = False
        self._polls: SimpleQueue[bool] = SimpleQueue()
        self._poller: threading.Thread | None = None
        self._heard = time.monotonic()
        self._why = ""

    def start_sending(self, take: Callable[[int], list[bytes]], _: str) -> None:
        """Note where the requests come from; `run` sends them."""
        self._take = take

    def tell(self) -> None:
        """Have the sender look."""
        if not self._told:
            self._told = True
            self._wake.put(True)

    def close(self, why: str) -> None:
        """Have `run` return, once the call that is under way has."""
        self._why = self._why or why
        self._wake.put(False)

    def run(self) -> str:
        """Send until the actor is gone, refuses, or `close` is called; return why it ended."""
        try:
            while not self._why and self._wake.get():
                self._told = False
                while not self._why and (parts := self._take(MAX_PARTS)):
                    self._send(frame_of(parts))
        except Exception as error:  # noqa: BLE001 - whatever Ray raises; the slot sorts it out
            self._why = self._why or _described(error)
        self._polls.put(True)
        self._polls.put(False)
        if self._poller is not None:
            self._poller.join()
        return self._why

    def _send(self, frame: bytes) -> None:
        if time.monotonic() - self._heard > _FRESH and not self._is_present():
            self._refused(frame)
            return
        answer = ray.get(self._actor.frame.remote(self._session, frame))
        if answer[:1] != DONE:
            self._refused(frame)
            return
        self._hear(answer)
        if self._slot.is_waited_for():
            if self._poller is None:
                self._start_polling()
            self._polls.put(True)

    def _is_present(self) -> bool:
        """Return whether this is still the shard's actor; what a dead one was sent is in doubt."""
        try:
            return bool(self._find() == self._actor)
        except ValueError:
            return False

    def _refused(self, frame: bytes) -> None:
        self._slot.give_back(frame)
        self._why = self._why or "its shard is being moved"

    def _hear(self, answer: bytes) -> None:
        self._heard = time.monotonic()
        self._slot.hear(answer[1:])

    def _start_polling(self) -> None:
        self._poller = threading.Thread(target=self._poll, name="eskernel-poller", daemon=True)
        self._poller.start()

    def _poll(self) -> None:
        try:
            while self._polls.get():
                while self._slot.is_waited_for():
                    answer = ray.get(self._actor.poll.remote(self._session))
                    if answer[:1] != DONE:
                        return
                    self._hear(answer)
        except Exception as error:  # noqa: BLE001 - whatever Ray raises
            self.close(_described(error))


def _described(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"the shard's actor is gone ({type(error).__name__}: {first})"
