"""DurableFeed: a feed that goes on where the last one of its name was, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from eskernel.contracts import CheckpointStore, Clock, EventStore
from eskernel.errors import StoreUnavailable
from eskernel.leasing import new_owner
from eskernel.subscriptions.arguments import checked_interval, checked_seconds
from eskernel.subscriptions.bookmark import Bookmark
from eskernel.subscriptions.deadline import Deadline
from eskernel.subscriptions.feed import Feed
from eskernel.subscriptions.tenure import LOOK_AGAIN, Tenure, Tenures
from eskernel.values import Checkpoint, Event

_CLOSE_WITHIN: Final = 1.0
"""Seconds that `close` waits for a thread that talks to the store."""


class DurableFeed:
    """Hands out the events of a log as `Feed` does, and stores under a name how far that has come.

    Of all feeds of a name, in whatever processes, one hands out events: the one that holds the
    name's lease. The others wait for it. Each event is handed out at least once; after a crash,
    those since the last save again. Saved is what counts as dealt with, after every `page` events
    and every second, whichever comes first, and on `close`.

    A feed has no thread, so the lease is renewed while somebody reads. Who stops reading without
    closing, or takes longer than `lease_seconds` with an event, loses it to another feed that
    waits; if none does, it goes on where it was. A process that was paused for so long and wakes
    up hands out nothing more, and stores nothing, until it has the lease again.

    Invariants: nothing is handed out without a lease that is valid by this process's clock; and
    nothing is stored but under the epoch of the lease it was handed out under, which the store
    compares with the newest.

    Args:
        store: whose log.
        checkpoints: where position and lease are kept.
        key: the name they have there, 1 to 255 characters.
        owner: who asks for the lease; unique in the world. None for a new one.
        from_position: the last position that is not wanted, if none is stored.
        types: as of `Feed`.
        aggregate_types: as of `Feed`.
        page: as of `Feed`.
        poll_interval: as of `Feed`.
        lease_seconds: how long another feed waits before it takes over from one that is gone.
        clock: for lease and saves.
        wait: as of `Feed`.
        version: stored with a position where none is stored yet.
        notes: likewise.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a number is out of its bounds.
    """

    def __init__(
        self,
        store: EventStore,
        checkpoints: CheckpointStore,
        key: str,
        *,
        owner: str | None = None,
        from_position: int = 0,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
        page: int = 500,
        poll_interval: float = 0.1,
        lease_seconds: float = 5.0,
        clock: Clock = time,
        wait: Callable[[float], object] | None = None,
        version: str = "",
        notes: bytes = b"",
    ) -> None:
        def feed(position: int) -> Feed:
            return Feed(
                store,
                from_position=position,
                types=types,
                aggregate_types=aggregate_types,
                page=page,
                poll_interval=poll_interval,
                wait=wait,
            )

        bookmark = Bookmark(
            checkpoints,
            key,
            new_owner() if owner is None else owner,
            checked_interval("lease_seconds", lease_seconds),
            clock,
            Checkpoint(from_position, version, b"", notes),
        )
        self._tenures = Tenures(bookmark, feed, from_position, page, clock)
        self._ended: SimpleQueue[None] = SimpleQueue()  # filled by close, for those who pause

    def __iter__(self) -> DurableFeed:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event, waiting for it, and before for the lease, if need be.

        Args:
            timeout: seconds to wait at most; 0 asks and looks once; None for no limit.

        Returns:
            The event; None when there is none in time, another feed has the lease, or this one is
            closed.

        Raises:
            StoreUnavailable: a store could not be reached, and the time is over.
            CorruptStore: the stored position or the next event is damaged.
            TypeError, ValueError: the timeout is no number of seconds.
        """
        deadline = Deadline(None if timeout is None else checked_seconds("timeout", timeout))
        self._tenures.feed.settle()
        while not self.closed:
            last = deadline.is_over()  # look once after it, too: what is wrong then is told
            tenure = self._ready(deadline)
            event = None if tenure is None else self._take(tenure, deadline)
            if event is not None or last:
                return event
        return None

    def close(self) -> None:
        """End the feed, store what was dealt with, and give the lease back.

        An event that a reader has got, and asked for no other since, is handed out again by the
        next feed of the name. May be called from any thread, and twice; the stores stay open. What
        a store refuses is logged: the lease then runs out by itself.
        """
        self._tenures.closed = True
        self._ended.put(None)
        deadline = Deadline(_CLOSE_WITHIN)
        while not self._tenures.end() and not deadline.is_over():
            time.sleep(LOOK_AGAIN)

    @property
    def closed(self) -> bool:
        """Whether the feed was closed."""
        return self._tenures.closed

    @property
    def active(self) -> bool:
        """Whether this feed has the lease, by its clock."""
        return self._tenures.present is not None

    @property
    def position(self) -> int:
        """The last position handed out or passed over, when it had the lease last."""
        return self._tenures.feed.position

    @property
    def acknowledged(self) -> int:
        """The position up to which every event was handed out and dealt with; see `Feed`."""
        return self._tenures.feed.acknowledged

    def _ready(self, deadline: Deadline) -> Tenure | None:
        """Do what is due; return the tenure, or None after a pause if there is none."""
        tenures = self._tenures
        pause = tenures.tend(deadline) if tenures.is_due() else 0.0
        if not pause:
            tenure = tenures.present
            if tenure is not None:
                return tenure
            pause = max(LOOK_AGAIN, tenures.until_due(None))
        with suppress(Empty):  # a closed one pauses no more
            self._ended.get(timeout=deadline.within(pause))
            self._ended.put(None)
        return None

    def _take(self, tenure: Tenure, deadline: Deadline) -> Event | None:
        tenures, feed = self._tenures, tenure.feed
        try:
            event = feed.next(deadline.within(tenures.until_due(tenure)))
            if event is None:
                return None
            if tenures.present is tenure and not tenures.closed:
                tenure.handed += 1
                return event
            feed.put_back()
        except BaseException as error:
            feed.put_back()
            if not isinstance(error, StoreUnavailable) or deadline.is_over():
                raise
        return None
