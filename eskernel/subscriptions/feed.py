"""Feed: the log of any store as an iterator, first what is there and then what is appended.

A feed has no thread: it reads a page when a reader asks for an event and none is left of the last.

An exception that interrupts a reader takes nothing with it: a page counts when it is whole, and an
event that was taken but did not reach the reader is put back to where it belongs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

from eskernel.contracts import EventStore
from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.subscriptions.arguments import (
    checked_interval,
    checked_names,
    checked_number,
    checked_seconds,
    checked_store,
    checked_wait,
)
from eskernel.subscriptions.backlog import Backlog, Reader
from eskernel.subscriptions.deadline import Deadline
from eskernel.subscriptions.outage import Outage
from eskernel.values import Event, Range

_LONGEST_WAIT: Final = threading.TIMEOUT_MAX  # seconds


class Feed:
    """Hands out the events of a log in position order, each once, and then waits for more.

    Any number of threads may read from one feed; each event goes to one of them. An event counts
    as dealt with when the thread that got it asks for the next one.

    While the store cannot be reached a reader tries again, more and more seldom, and logs one
    warning an outage.

    Args:
        store: whose log.
        from_position: the last position that is not wanted; the first event handed out has a
            greater one. So 0 means all events, `store.last_position()` those yet to come, and
            what `acknowledged` said continues an earlier feed.
        types: only events of these types; None for all.
        aggregate_types: only events of these aggregate types; None for all.
        page: events looked at at once, and the most that are kept in memory.
        poll_interval: seconds between two looks at a log that has nothing new.
        wait: called with a number of seconds, by one thread at a time, in place of waiting so long:
            it may return at once when something was appended. `close` cannot end it before its
            time.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a number is out of its bounds.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        from_position: int = 0,
        types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
        page: int = 500,
        poll_interval: float = 0.1,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._store = checked_store(store)
        self._types = checked_names("types", types)
        self._aggregate_types = checked_names("aggregate_types", aggregate_types)
        self._page = checked_number("page", page, 1)
        self._poll_interval = checked_interval("poll_interval", poll_interval)
        self._wait = self._pause if wait is None else checked_wait(wait)
        self._outage = Outage()  # of the one who reads on
        self._backlog = Backlog(checked_number("from_position", from_position, 0))
        self._me = Reader()
        # Guards the three below. Never held while the store is read or anything is waited for.
        self._lock = threading.Lock()
        self._closed = False
        # The call that reads on; others wait for it. So each page is read once, and in order.
        self._ahead: object | None = None
        # One for each reader that waits; unlocking it ends the wait. Should an interruption keep
        # it from being unlocked, the wait for another reader ends after poll_interval.
        self._waiting: dict[object, threading.Lock] = {}

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event, waiting for it if need be.

        Args:
            timeout: seconds to wait at most; 0 looks once, at one page at most; None for no limit.

        Returns:
            The event; None when there is none in time, or the feed is closed.

        Raises:
            StoreUnavailable: the store could not be reached, and the time is over.
            CorruptStore: the next event is damaged; those before it have been handed out.
            TypeError, ValueError: the timeout is no number of seconds.
        """
        deadline = Deadline(None if timeout is None else checked_seconds("timeout", timeout))
        reader = self._me.token
        self._backlog.settle(reader)
        try:
            return self._next(reader, deadline)
        except BaseException:
            self._backlog.put_back(reader)
            raise

    def settle(self) -> None:
        """Note that the calling thread has dealt with what it got; `next` does so by itself."""
        self._backlog.settle(self._me.token)

    def put_back(self) -> None:
        """Have the event the calling thread got last, if it is not settled, handed out again."""
        self._backlog.put_back(self._me.token)

    def close(self) -> None:
        """End the feed: readers, those that wait included, get no more events.

        May be called from any thread, and twice. The store stays open.
        """
        with self._lock:
            self._closed = True
            self._wake()

    @property
    def closed(self) -> bool:
        """Whether the feed was closed."""
        return self._closed

    @property
    def position(self) -> int:
        """The last position handed out or passed over; every greater one is still to come."""
        return self._backlog.position

    @property
    def acknowledged(self) -> int:
        """The position up to which every event was handed out and dealt with.

        Of an event that is being dealt with it is the position before it. A feed that continues
        from here hands out again what was not dealt with, and nothing else if one thread reads.
        """
        return self._backlog.acknowledged

    def _next(self, reader: object, deadline: Deadline) -> Event | None:
        call = object()
        try:
            while True:
                with self._lock:
                    if self._closed:
                        return None
                    event = self._backlog.take(reader)
                    if event is not None:
                        return event
                    if self._ahead is None:
                        self._ahead = call
                if self._ahead is call:
                    over = self._read_on(deadline)
                else:
                    self._pause(deadline.within(self._poll_interval), beside=True)
                    over = deadline.is_over()
                if over and not self._backlog:
                    return None
        finally:
            if self._ahead is call:
                try:
                    self._give_way(call)
                except BaseException:
                    self._give_way(call)
                    raise

    def _read_on(self, deadline: Deadline) -> bool:
        """Read a page, or wait if there is nothing new; called by the one in `_ahead`.

        Returns:
            Whether the time is over.
        """
        found: list[Event] = []
        reached = start = self._backlog.reached
        try:
            _, reached = self._store.fold_all(
                _gather,
                found,
                Range(start + 1),
                limit=self._page,
                types=self._types,
                aggregate_types=self._aggregate_types,
            )
        except CorruptStore:
            if not found:
                raise
            reached = found[-1].position or start
        except StoreUnavailable as error:
            if deadline.is_over():
                raise
            self._pause(deadline.within(self._outage.goes_on(error, start)))
            return False  # but look once more: what is wrong then is told
        self._outage.is_over()
        if reached > start:
            self._backlog.add(found, reached)
            with self._lock:
                self._wake()
        elif not deadline.is_over():
            self._wait(deadline.within(self._poll_interval))
        return deadline.is_over()

    def _pause(self, seconds: float, *, beside: bool = False) -> None:
        """Wait until the time is over, the feed is closed, or another has read a page.

        Args:
            seconds: how long, at most.
            beside: whether the caller waits only because another reads on.
        """
        waiter = threading.Lock()
        waiter.acquire()
        with self._lock:
            if self._closed or (beside and (self._ahead is None or self._backlog)):
                return
            self._waiting[self._me.token] = waiter
        waiter.acquire(timeout=min(seconds, _LONGEST_WAIT))

    def _wake(self) -> None:
        """End all waits; called under the lock."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            waiter.release()

    def _give_way(self, call: object) -> None:
        """Let another reader read on."""
        with self._lock:
            if self._ahead is call:
                self._ahead = None
                self._wake()


def _gather(events: list[Event], event: Event) -> list[Event]:
    events.append(event)
    return events
