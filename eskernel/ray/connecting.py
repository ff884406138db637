"""Connector: keeps a slot connected with its shard's actor, whichever life and place that is in."""

from __future__ import annotations

import random
import threading
import time
import uuid
from contextlib import suppress
from typing import Any, Final

import ray

from eskernel.actors.journal import log_safely
from eskernel.actors.supervision import Backoff
from eskernel.ray.actors import ShardActors
from eskernel.ray.answers import DONE, ENDED, FAILED
from eskernel.ray.line import Line
from eskernel.ray.slot import RaySlot
from eskernel.remote.failures import PLAIN, fields_to_failure

ENDED_BY_SOMEBODY: Final = "its shards were ended"
_LOOK_AGAIN: Final = 0.05
"""Seconds between two looks at calls that wait for too long, and for an actor to come."""
_MISSING: Final = 1.0
"""Seconds after which somebody who moves a shard is taken for dead, and the shard made anew."""
_STABLE: Final = 5.0
"""Seconds after which an earlier failure counts no more."""
_BACKOFF: Final = Backoff(first=0.05, longest=2.0)


class Connector:
    """One thread: connects, sends until the line ends, sorts out what was lost, and again.

    Attributes:
        slot: of the shard.
        lives: how often it was connected.
        failure: why the shard could not be opened when it was tried last, or None.

    Args:
        actors: of all shards.
        index: which shard.
        slot: its.
    """

    def __init__(self, actors: ShardActors, index: int, slot: RaySlot) -> None:
        self.slot = slot
        self.lives = 0
        self.failure: Exception | None = None
        self._actors = actors
        self._index = index
        self._line: Line | None = None
        # Set before the line is closed, and looked at after one was opened: so either the one who
        # closes or this thread ends that line.
        self._closed = False
        self._missing_since: float | None = None
        self._made: Any = None
        self._rng = random.Random()  # noqa: S311 - jitter
        self._thread = threading.Thread(
            target=self._run, name=f"eskernel-shard-{index}", daemon=True
        )

    def start(self) -> None:
        """Make the actor, if there is none, and connect."""
        try:
            self._actors.find(self._index)
        except ValueError:
            self._made = self._actors.make(self._index)
        self._thread.start()

    def undo(self) -> None:
        """End the actor if it was made by `start`: nobody could open it."""
        if self._made is not None:
            with suppress(ray.exceptions.RayError):  # what failed may be Ray
                ray.kill(self._made)

    def close(self) -> None:
        """Connect no more, and end the line."""
        self._closed = True
        if self._line is not None:
            self._line.close("the kernel was stopped")

    def join(self, timeout: float) -> bool:
        """Return whether the thread has ended within so many seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failed = 0
        while not self._closed:
            begun = time.monotonic()
            try:
                line = self._connected()
            except Exception as error:  # noqa: BLE001 - whatever Ray or a store raises
                failed += 1
                self._note(error, failed)
                self._idle(_BACKOFF.delay(failed, self._rng))
                continue
            if line is not None:
                self._serve(line)
                failed = 0 if time.monotonic() - begun > _STABLE else failed + 1
                if failed > 1:
                    self._idle(_BACKOFF.delay(failed - 1, self._rng))
        self.slot.lose("the kernel was stopped")

    def _serve(self, line: Line) -> None:
        self.lives += 1
        self.failure = None
        self._line = line
        self.slot.serve(line)
        if self._closed:
            line.close("the kernel was stopped")
        why = line.run()
        self._line = None
        self.slot.lose(why)
        if not self._closed:
            log_safely("warning", "shard_lost", shard=self._index, reason=why)

    def _connected(self) -> Line | None:
        """Return a line to the present actor; None if there is none to be had just now."""
        actor = self._found()
        if actor is None:
            self._idle(_LOOK_AGAIN)
            return None
        session = uuid.uuid4().bytes
        answer = self._awaited(actor.open.remote(session, self._actors.terms))
        if answer is None:
            return None
        if answer == DONE:
            return Line(actor, session, self.slot)
        if answer == ENDED:
            self._end()
            return None
        if answer[:1] == FAILED:
            self.failure = fields_to_failure(PLAIN.unpack(answer[1:]), {})
            raise self.failure
        self._idle(_LOOK_AGAIN)  # it is being moved
        return None

    def _found(self) -> Any:
        """Return the actor's handle; None if there is none just now, and none any more if ended.

        One that is missing is being moved. If that takes too long, who moves it is dead; unless
        there are no others either.
        """
        try:
            actor = self._actors.find(self._index)
        except ValueError:
            now = time.monotonic()
            self._missing_since = self._missing_since or now
            if now - self._missing_since < _MISSING:
                return None
            if not self._actors.any_is_there():
                self._end()
                return None
            actor = self._actors.make(self._index)
        self._missing_since = None
        return actor

    def _end(self) -> None:
        self._closed = True
        self.slot.close(ENDED_BY_SOMEBODY)

    def _awaited(self, ref: Any) -> bytes | None:
        """Return an answer, however long it takes; None when closed."""
        while not self._closed:
            if ray.wait([ref], timeout=_LOOK_AGAIN)[0]:
                return bytes(ray.get(ref))
            self.slot.expire()
        return None

    def _idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._closed and time.monotonic() < until:
            self.slot.expire()
            time.sleep(min(_LOOK_AGAIN, seconds))

    def _note(self, error: Exception, failed: int) -> None:
        self.slot.down = f"its shard cannot be opened: {error}"
        if failed == 1:
            log_safely("warning", "shard_not_opened", shard=self._index, reason=error)
