"""RaySlot: a slot whose requests may come back, refused by an actor that is not to run them."""

from __future__ import annotations

import time
from typing import Final

from eskernel.remote.slot import Slot
from eskernel.remote.wire import WITHDRAWAL, parts_of

_MOST: Final = 0.8
"""Share of the callers that are waited for; some do not come back, or take their time."""
_GATHER: Final = 0.001
"""Seconds they are waited for at most, which is about what a call costs."""
_LOOK_AGAIN: Final = 0.0001  # seconds


class RaySlot(Slot):
    """A `Link` to one shard's actor, wherever it runs."""

    def is_waited_for(self) -> bool:
        """Return whether calls were sent that are not answered."""
        return bool(self._sent)

    def give_back(self, frame: bytes) -> None:
        """Keep the calls of a frame, of which nothing was begun, to be sent again first.

        On the thread that sends.
        """
        numbers = [request[0] for request in parts_of(frame) if request[1] != WITHDRAWAL]
        for number in reversed(numbers):
            call = self._sent.pop(number, None)
            if call is not None:
                call.tries -= 1
                self._waiting.appendleft(call)

    def hear_and_gather(self, frame: bytes) -> None:
        """Take the replies of a frame, and wait a moment for the callers to call again.

        Else those that wait meanwhile would go first and these next, in two halves, at twice the
        cost. One who calls alone is not waited for, nor anybody while there are answers to come.
        """
        waiting, sent = len(self._waiting), len(self._sent)
        self.hear(frame)
        wanted = waiting + _MOST * sent
        until = time.monotonic() + _GATHER
        while sent > 1 and not self._sent and len(self._waiting) < wanted:
            if time.monotonic() > until:
                break
            time.sleep(_LOOK_AGAIN)
