"""Portal: the way from any thread into an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from eskernel.errors import StoreUnavailable

T = TypeVar("T")

_CLOSED: Final = "the store is closed; open it again"
_FORKED: Final = (
    "this store was opened by the process that forked this one, and connections "
    "cannot be shared; open a store of its own here"
)
_GRACE: Final = 2.0  # seconds for what is under way when the portal is closed
_PATIENCE: Final = 6.0  # seconds to wait for the thread's end


class Portal:
    """Runs coroutines for threads that wait for them; its daemon thread starts at once.

    An exception that interrupts a waiting thread cancels what it waited for, and nothing else.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closed = False  # set once, before the loop is told to stop
        self._farewell: Callable[[], Coroutine[Any, Any, None]] = _nothing  # set before `_closed`
        self._ending = False  # the loop's thread's
        # What threads wait for. Put in before the loop hears of it and before `_closed` is looked
        # at, and swept after the loop has ended: so everything that is waited for is answered.
        self._awaited: set[_Call[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="eskernel-jetstream", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Run a coroutine function on the loop, wait, and return or raise what it does.

        It is called on the loop's thread: an exception that interrupts the caller leaves no
        coroutine behind that is never awaited.

        Raises:
            StoreUnavailable: the portal is closed, or belongs to the process that forked this one.
            RuntimeError: the caller is on the loop's own thread, where nothing can be waited for.
        """
        call = _Call(partial(function, *arguments), self._awaited)
        handed_over = False
        try:
            self._awaited.add(call)
            self._check_open()
            handed_over = True
            try:
                self._loop.call_soon_threadsafe(call.start, self._loop)
            except RuntimeError as error:  # the loop was closed just now
                handed_over = False
                raise StoreUnavailable(_CLOSED) from error
            return call.wait()
        except BaseException:
            if not handed_over:
                call.drop()
            elif not call.is_over:
                with suppress(RuntimeError):  # the loop is closed, and `_serve` drops the call
                    self._loop.call_soon_threadsafe(call.cancel)
            raise

    def close(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """End the thread, and wait until it has, if another calls this.

        Closing twice is harmless, and does nothing in a forked child.

        Args:
            farewell: run on the loop, once, when what was under way has ended, or seconds later;
                then what is left is cancelled.
        """
        if not self._closed:
            self._farewell = farewell
            self._closed = True
        if os.getpid() != self._pid:
            return
        with suppress(RuntimeError):  # it was closed before
            self._loop.call_soon_threadsafe(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    def _check_open(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a function that is told of appends must not use the store")
        if os.getpid() != self._pid:
            raise StoreUnavailable(_FORKED)
        if self._closed:
            raise StoreUnavailable(_CLOSED)

    def _stop(self) -> None:
        if not self._ending:  # a second time it would stop `_end`
            self._ending = True
            self._loop.stop()

    def _serve(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._end())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            for call in [*self._awaited]:
                call.fail()

    async def _end(self) -> None:
        """Wait for what is under way, say farewell, and cancel what is left."""
        under_way = [call.task for call in [*self._awaited] if call.task is not None]
        if under_way:
            await asyncio.wait(under_way, timeout=_GRACE)
        with suppress(Exception):
            await self._farewell()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Call(Generic[T]):
    """What a thread waits for.

    Args:
        begin: returns what is to run.
        awaited: where the call is until it has ended.

    Attributes:
        is_over: whether it has been answered; set on the loop's thread.
        task: what runs; None before it has begun.
    """

    __slots__ = ("_answer", "_awaited", "_begin", "is_over", "task")

    def __init__(
        self, begin: Callable[[], Coroutine[Any, Any, T]], awaited: set[_Call[Any]]
    ) -> None:
        # Its methods are single steps of the interpreter: an exception that interrupts who waits
        # leaves no lock behind, on which the loop would then wait for ever.
        self._answer: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()
        self.is_over = False
        self._begin = begin
        self._awaited = awaited
        self.task: asyncio.Task[T] | None = None

    def wait(self) -> T:
        """Return or raise what the coroutine does."""
        value, error = self._answer.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; on the loop's thread."""
        try:
            self.task = loop.create_task(self._begin())
        except Exception as error:  # noqa: BLE001 - who waits raises it
            self._awaited.discard(self)
            self._end(None, error)
        else:
            self.task.add_done_callback(self._finish)

    def cancel(self) -> None:
        """End it early; on the loop's thread, after `start`."""
        if self.task is not None:
            self.task.cancel()

    def drop(self) -> None:
        """Forget what has not begun, and never will."""
        self._awaited.discard(self)

    def fail(self) -> None:
        """Tell who waits that the loop has ended; what was begun may have been done before."""
        begun = self.task is not None
        if not begun:
            self.drop()
        if not self.is_over:
            self._end(None, StoreUnavailable(_CLOSED, outcome_unknown=begun))

    def _finish(self, task: asyncio.Task[T]) -> None:
        self._awaited.discard(self)
        if task.cancelled():
            self.fail()
        elif (error := task.exception()) is not None:
            self._end(None, error)
        else:
            self._end(task.result(), None)

    def _end(self, value: T | None, error: BaseException | None) -> None:
        self.is_over = True
        self._answer.put((value, error))


async def _nothing() -> None:
    pass
