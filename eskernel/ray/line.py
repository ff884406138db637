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
FRESH: Final = 0.2
"""Seconds after its last answer for which an actor is taken for one that will answer again."""
_NOTHING: Final = frame_of([])


class Line:
    """A session with an actor; `run` is one thread's business, everything else anybody's.

    Args:
        actor: the handle.
        session: begun there.
        slot: whose calls are sent.
    """

    def __init__(self, actor: Any, session: bytes, slot: RaySlot) -> None:
        self._actor = actor
        self._session = session
        self._slot = slot
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
        """Send a frame, and take the answers that its call brings.

        After a while without any, nothing that could be lost is sent before the actor has
        answered once more: then it lives, or is `Shard.drain`ed, which takes longer than `FRESH`.
        """
        stale = time.monotonic() - self._heard > FRESH
        if (stale and not self._is_answered(_NOTHING, frame)) or not self._is_answered(frame):
            return
        if self._slot.is_waited_for():
            if self._poller is None:
                self._start_polling()
            self._polls.put(True)

    def _is_answered(self, frame: bytes, kept: bytes = b"") -> bool:
        """Send a frame; return False if it was refused, and then give back what it held.

        Args:
            frame: what is sent.
            kept: what is given back if this fails in any way; the frame itself otherwise only if
                nothing of it was begun.
        """
        try:
            answer = ray.get(self._actor.frame.remote(self._session, frame))
        except Exception:
            if kept:
                self._slot.give_back(kept)
            raise
        if answer[:1] == DONE:
            self._hear(answer)
            return True
        self._slot.give_back(kept or frame)
        self._why = self._why or "its shard is being moved"
        return False

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
