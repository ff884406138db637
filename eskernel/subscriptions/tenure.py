"""Tenures: the times for which one of many feeds of a name has the lease, and reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from eskernel.contracts import Clock
from eskernel.errors import StaleEpoch, StoreUnavailable
from eskernel.subscriptions.bookmark import Bookmark
from eskernel.subscriptions.deadline import Deadline
from eskernel.subscriptions.feed import Feed
from eskernel.subscriptions.outage import Outage, warn

_SAVE_INTERVAL: Final = 1.0  # seconds
LOOK_AGAIN: Final = 0.002
"""Seconds until a thread looks whether another one has done what was due."""


class Tenure:
    """What is read under one epoch, and when it is to be saved.

    Attributes:
        epoch: of the lease.
        feed: what is read.
        save_at: when a save is due, on the monotonic clock.
        handed: events handed out since the last save; a few may go uncounted among many threads.

    Args:
        epoch, feed, save_at: as above.
    """

    __slots__ = ("epoch", "feed", "handed", "save_at")

    def __init__(self, epoch: int, feed: Feed, save_at: float) -> None:
        self.epoch = epoch
        self.feed = feed
        self.save_at = save_at
        self.handed = 0


class Tenures:
    """Asks for the lease, renews it and saves how far the feed has come, whenever it is time.

    Every method may be called from many threads, and be interrupted by an exception at any point.

    Attributes:
        closed: whether no more tenures begin.
        feed: the newest tenure's, or the first.

    Args:
        bookmark: lease and position.
        new_feed: returns a feed that begins after a position.
        position: where the first one begins, which is never read.
        page: events handed out before a save is due.
        clock: for times on it.
    """

    def __init__(
        self,
        bookmark: Bookmark,
        new_feed: Callable[[int], Feed],
        position: int,
        page: int,
        clock: Clock,
    ) -> None:
        self._bookmark = bookmark
        self._new_feed = new_feed
        self._page = page
        self._clock = clock
        self._outage = Outage()
        self.closed = False
        self.feed = new_feed(position)
        # The call that talks to the store, under the key 0: there in one step, gone in one step.
        # Only it calls `_bookmark`'s methods, except `holds`, and changes the field below.
        self._busy: dict[int, _Call] = {}
        self._present: Tenure | None = None

    @property
    def present(self) -> Tenure | None:
        """The tenure, if its lease is valid by the clock."""
        tenure = self._present
        return tenure if tenure is not None and self._bookmark.holds(tenure.epoch) else None

    def is_due(self) -> bool:
        """Return whether `tend` has something to do; until it is done nothing is to be taken."""
        now, tenure = self._clock.monotonic(), self._present
        if now >= self._bookmark.ask_at:
            return True
        if tenure is None:
            return self._bookmark.epoch is not None  # got it, and failed to load
        return self._is_save_due(tenure, now)

    def until_due(self, tenure: Tenure | None) -> float:
        """Return the seconds that may be waited for an event, or for another feed's lease."""
        due = self._bookmark.ask_at
        if tenure is not None and tenure.feed.acknowledged > self._bookmark.position:
            due = min(due, tenure.save_at)
        return max(0.0, due - self._clock.monotonic())

    def tend(self, deadline: Deadline) -> float:
        """Do what is due, unless another thread is at it.

        Args:
            deadline: when the caller's time is over.

        Returns:
            Seconds to wait before it is tried again; 0 if it is done.

        Raises:
            StoreUnavailable: the store could not be reached, and the time is over.
            CorruptStore: the stored position is damaged.
        """
        call = _Call()
        try:
            if self._busy.setdefault(0, call) is not call:
                return LOOK_AGAIN
            self._ask_and_save()
        except StoreUnavailable as error:
            if deadline.is_over():
                raise
            return self._outage.goes_on(error, self._bookmark.position)
        finally:
            try:
                self._give_way(call)
            except BaseException:
                self._give_way(call)
                raise
        return 0.0

    def end(self) -> bool:
        """Save, and give the lease back, unless another thread is at it; that one then ends it.

        What the store raises is logged: the lease then runs out, and what is stored is right.

        Returns:
            Whether it is done, or will be by a call on this thread, which this one interrupts.
        """
        self.closed = True
        self.feed.close()
        call = _Call()
        try:
            busy = self._busy.setdefault(0, call)
            if busy is call:
                self._give_back()
        except StaleEpoch:
            self._bookmark.lose()  # another has it, and begins with what was stored before
        except Exception as error:  # noqa: BLE001 - whatever it is, at least once still holds
            warn("subscription_not_released", error, self._bookmark.position)
        finally:
            if self._busy.get(0) is call:
                del self._busy[0]
        return busy is call or busy.thread == call.thread

    def _ask_and_save(self) -> None:
        bookmark = self._bookmark
        if self.closed:
            return
        if self._clock.monotonic() >= bookmark.ask_at:
            bookmark.ask()
        tenure = self._present
        if tenure is not None and tenure.epoch != bookmark.epoch:
            self._drop(tenure)
        try:
            if self._present is None and bookmark.epoch is not None:
                self._begin(bookmark.epoch)
            elif (tenure := self.present) is not None:
                self._save(tenure)
        except StaleEpoch:
            self._drop(self._present)
            bookmark.lose()
        self._outage.is_over()

    def _begin(self, epoch: int) -> None:
        self.feed = self._new_feed(self._bookmark.load(epoch))
        self._present = Tenure(epoch, self.feed, self._clock.monotonic() + _SAVE_INTERVAL)
        if self.closed:  # and `end` may have closed the one before
            self.feed.close()

    def _is_save_due(self, tenure: Tenure, now: float) -> bool:
        return now >= tenure.save_at or tenure.handed >= self._page

    def _save(self, tenure: Tenure) -> None:
        now = self._clock.monotonic()
        if not self._is_save_due(tenure, now):
            return
        self._save_if_moved(tenure)
        tenure.save_at = now + _SAVE_INTERVAL
        tenure.handed = 0

    def _save_if_moved(self, tenure: Tenure) -> None:
        position = tenure.feed.acknowledged
        if position > self._bookmark.position:
            self._bookmark.save(tenure.epoch, position)

    def _drop(self, tenure: Tenure | None) -> None:
        self._present = None
        if tenure is not None:
            tenure.feed.close()  # for threads that wait in it

    def _give_way(self, call: _Call) -> None:
        if self._busy.get(0) is call:
            del self._busy[0]
        if self.closed:
            self.end()

    def _give_back(self) -> None:
        tenure, self._present = self._present, None
        try:
            if tenure is not None:
                self._save_if_moved(tenure)
        finally:
            self._bookmark.release()


class _Call:
    __slots__ = ("thread",)

    def __init__(self) -> None:
        self.thread = threading.get_ident()
