"""Line: the calls of one front to one actor, in one session.

One frame is under way at a time, and takes along all that has come meanwhile: the more callers,
the larger the frames, and the less each pays of what a call costs. What is not answered by the
end of its frame's call is fetched by polls beside the next frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final

import ray

from eskernel.ray.answers import DONE, MOVING
from eskernel.ray.slot import RaySlot
from eskernel.remote.wakeup import Wakeup
from eskernel.remote.wire import MAX_PARTS, frame_of

_MAX_BYTES: Final = 1 << 20
"""After which nothing is added to a frame: Ray has to find room for it."""
_AT_ONCE: Final = 64
"""Requests that are taken between two looks at that size."""
_MOVING_FOR: Final = 0.02
"""Seconds between two questions whether a shard goes on after all."""
FRESH: Final = 0.2
"""Seconds after a frame that was answered for which an actor is taken to be there."""
_LOOK_AGAIN: Final = 0.25
"""Seconds between two looks at calls that wait for too long, while an answer is waited for."""
_NOTHING: Final = frame_of([])


class Line:
    """A session with an actor; `run` is one thread's business, everything else anybody's.

    Args:
        actor: the handle.
        session: begun there.
        slot: whose calls are sent.

    Attributes:
        tell: has the sender look.
    """

    def __init__(self, actor: Any, session: bytes, slot: RaySlot) -> None:
        self._actor = actor
        self._session = session
        self._slot = slot
        self._take: Callable[[int], list[bytes]] = lambda _: []
        self._wakeup = Wakeup()
        self.tell = self._wakeup.tell
        self._polls: SimpleQueue[bool] = SimpleQueue()
        self._poller: threading.Thread | None = None
        self._asked = time.monotonic()  # when the last frame that was answered left
        # Why it ends: set once, then nothing more is taken.
        self._why = ""
        # Set for who cannot wait for what is under way.
        self._hurried = False

    def start_sending(self, take: Callable[[int], list[bytes]], _: str) -> None:
        """Note where the requests come from; `run` sends them."""
        self._take = take

    def close(self, why: str) -> None:
        """Have `run` return soon, whatever is under way."""
        self._why = self._why or why
        self._hurried = True
        self._wakeup.end()

    def run(self) -> str:
        """Send until the actor is gone, refuses, or `close` is called; return why it ended."""
        try:
            while not self._why and self._wakeup.wait():
                self._wakeup.looks()
                self._make_sure()
                while not self._why and (frame := self._next_frame()):
                    self._send(frame)
        except Exception as error:  # noqa: BLE001 - whatever Ray raises; the slot sorts it out
            self._why = self._why or _described(error)
        self._polls.put(True)
        self._polls.put(False)
        if self._poller is not None:
            self._poller.join()
        if self._hurried:
            with suppress(Exception):  # it may be gone, or Ray; else it forgets by itself
                self._actor.leave.remote(self._session)
        return self._why

    def _next_frame(self) -> bytes | None:
        """Return what waits, as much as a frame takes; None if there is nothing."""
        parts: list[bytes] = []
        size = 0
        while len(parts) < MAX_PARTS and size < _MAX_BYTES and (more := self._take(_AT_ONCE)):
            parts += more
            size += sum(map(len, more))
        return frame_of(parts) if parts else None

    def _make_sure(self) -> None:
        """Before anything is taken that could be lost, have an actor answer that was silent.

        Then it lives; and if it is being moved, it goes on to refuse frames for longer than this
        answer counts. So an idle front is not left in doubt by an actor that was moved meanwhile.
        """
        if time.monotonic() - self._asked > FRESH:
            self._send(_NOTHING)

    def _send(self, frame: bytes) -> None:
        """Send a frame and take the answers that its call brings; or give it back, if refused."""
        asked = time.monotonic()
        answer = self._answer(self._actor.frame.remote(self._session, frame), self._slot.expire)
        while answer[:1] == MOVING and not self._why:
            self._slot.give_back(frame)
            frame = _NOTHING
            time.sleep(_MOVING_FOR)
            asked = time.monotonic()
            self._slot.expire()
            answer = self._answer(self._actor.frame.remote(self._session, frame), self._slot.expire)
        if answer[:1] != DONE:
            self._slot.give_back(frame)
            self._why = self._why or "its shard is run elsewhere"
            return
        self._asked = asked
        self._slot.hear_and_gather(answer[1:])
        if self._slot.is_waited_for():
            if self._poller is None:
                self._start_polling()
            self._polls.put(True)

    def _answer(self, ref: Any, meanwhile: Callable[[], Any] = lambda: None) -> bytes:
        while True:
            try:
                return bytes(ray.get(ref, timeout=_LOOK_AGAIN))
            except ray.exceptions.GetTimeoutError:
                if self._hurried:
                    raise
                meanwhile()

    def _start_polling(self) -> None:
        self._poller = threading.Thread(target=self._poll, name="eskernel-poller", daemon=True)
        self._poller.start()

    def _poll(self) -> None:
        try:
            while self._polls.get():
                while self._slot.is_waited_for() and not self._hurried:
                    answer = self._answer(self._actor.poll.remote(self._session))
                    if answer[:1] != DONE:
                        return
                    self._slot.hear(answer[1:])
        except Exception as error:  # noqa: BLE001 - whatever Ray raises
            self.close(_described(error))


def _described(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"the shard's actor is gone ({type(error).__name__}: {first})"
