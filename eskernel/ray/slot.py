"""RaySlot: a slot whose requests may come back, refused by an actor that is not to run them."""

from __future__ import annotations

from eskernel.remote.slot import Slot
from eskernel.remote.wire import WITHDRAWAL, parts_of


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
