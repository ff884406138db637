"""The worker: what runs in a process of a ProcessKernel."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from eskernel.actors.owning.options import ShardLeases
from eskernel.processes.channel import KEY_BYTES, Channel
from eskernel.processes.crew import Crew
from eskernel.remote.failures import PLAIN, failure_to_fields
from eskernel.remote.host import Host
from eskernel.remote.opening import OpenKernel, OpenStores, prepared
from eskernel.remote.setup import Setup
from eskernel.remote.wire import STOP, Wire, parts_of

T = TypeVar("T")

_LOOK_AGAIN: Final = 0.5
"""Seconds between two looks whether the parent is alive, or has sent a signal. Its socket tells
sooner, unless a fork of the parent has a copy of it."""
_READERS: Final = 2
"""Threads that read, and run commands: while one runs some, the other reads. With a store that
appends later the kernel's pool runs them."""
_KEPT: Final = 0.003
"""Seconds that a reply is kept for others to go with it, while there are commands to decide: who
sends gives the interpreter away, and waits to have it back. Measured with commands of a millisecond
and 16 callers: 1.04 times the rate of 0.001."""
_LEFT: Final = 2.0
"""Seconds that what is under way may take when there is nobody any more to say how long."""
_LONGEST: Final = 5.0
"""Seconds after which a process without a parent ends, whatever it waits for."""


def main(descriptor: int, parent: int) -> None:
    """Serve a parent until it says stop, or is gone; never returns.

    Args:
        descriptor: of the inherited socket.
        parent: the parent's process id.
    """
    key = sys.stdin.buffer.read(KEY_BYTES)
    channel = Channel(socket.socket(fileno=descriptor))
    watch = threading.Thread(
        target=_watch, args=(channel, parent), name="eskernel-watch", daemon=True
    )
    watch.start()
    status = 1
    try:
        channel.authenticate(key, first=False)
        worker = _prepared(channel)
        if worker is not None:
            worker.run()
            status = 0
    except (EOFError, OSError):
        pass  # the parent is gone, or has given it up
    except BaseException:  # noqa: BLE001 - the end of this process
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as the parent's are
            with suppress(OSError, ValueError):  # a full device, or a closed pipe
                stream.flush()
    os._exit(status)  # threads of drivers may not end by themselves


def _prepared(channel: Channel) -> Worker | None:
    """Return a worker whose kernel runs; None if it cannot be, which the parent was told."""
    setup = Setup.unpacked(channel.receive())
    ready = _attempt(channel, partial(_imported, setup))
    if ready is None:
        return None
    wire, stores = ready
    channel.send(PLAIN.pack(None))
    leases = PLAIN.unpack(channel.receive())
    opened = _attempt(channel, partial(_started, setup, leases, stores))
    return None if opened is None else Worker(channel, opened, wire)


def _imported(setup: Setup) -> tuple[Wire, OpenStores]:
    setup.initialize()
    return prepared(setup)


def _started(setup: Setup, leases: dict[str, Any] | None, stores: OpenStores) -> OpenKernel:
    opened = OpenKernel(setup, stores, None if leases is None else ShardLeases(**leases))
    opened.start()
    return opened


def _attempt(channel: Channel, step: Callable[[], T]) -> T | None:
    """Return what a step returns; None if it fails, which the parent is told."""
    try:
        return step()
    except BaseException as error:  # noqa: BLE001 - the parent's to raise
        channel.send(PLAIN.pack(failure_to_fields(error)))
        return None


def _watch(channel: Channel, parent: int) -> None:
    """Close the channel when the parent is gone, and see that this process ends."""
    while os.getppid() == parent:
        time.sleep(_LOOK_AGAIN)
    channel.close()
    time.sleep(_LONGEST)
    os._exit(1)


class Worker:
    """A kernel behind a channel.

    Args:
        channel: to the parent.
        opened: the kernel, started.
        wire: of its domains.
    """

    def __init__(self, channel: Channel, opened: OpenKernel, wire: Wire) -> None:
        self._channel = channel
        self._opened = opened
        self._replies: deque[bytes] = deque()
        self._wire = wire
        self._host = Host(opened.kernel, wire, self._reply)
        # Held by the thread that reads, until it has queued what it read: so the commands of one
        # sender are begun in order.
        self._reading = threading.Lock()
        self._mine = _Mine()
        self._crew = Crew(channel.flush)
        self._over = threading.Event()
        self._terminated = False
        self._patience = _LEFT

    def run(self) -> None:
        """Serve until told to stop, or the parent is gone; then let what is under way end."""
        signal.signal(signal.SIGTERM, self._terminate)
        self._channel.send(PLAIN.pack(None))
        self._channel.start_sending(self._take, "eskernel-sender")
        self._crew.start()
        for number in range(_READERS):
            name = f"eskernel-reader-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        while not self._over.wait(_LOOK_AGAIN):
            if self._terminated:
                self._terminated = False
                self._reply(0, self._wire.pack_leaving())  # the parent ends what it sends
            self._opened.kernel.start()  # once more, if it gave up
        deadline = time.monotonic() + self._patience
        self._host.drain(self._patience)
        self._opened.kernel.stop(max(0.0, deadline - time.monotonic()))
        self._host.close()
        self._crew.close()
        self._opened.close()
        self._channel.finish(_LEFT)

    def _terminate(self, _signal: int, _frame: Any) -> None:
        # No event: the handler may run while this very thread holds the event's lock.
        self._terminated = True

    def _serve(self) -> None:
        try:
            while not self._over.is_set():
                with self._reading:
                    self._crew.bring(self._hear(parts_of(self._channel.receive())))
                self._run()
        except (EOFError, OSError):
            self._over.set()
        except BaseException:
            self._over.set()  # what was read may never be answered: the parent replaces this one
            raise

    def _hear(self, requests: Sequence[Sequence[Any]]) -> Sequence[Callable[[], Any]]:
        runs = self._host.take([request for request in requests if request[1] != STOP])
        for request in requests:
            if request[1] == STOP:
                self._patience = request[2]
                self._over.set()
        return runs

    def _run(self) -> None:
        """Decide commands on this thread, unless another does, and send the replies together."""
        mine = self._mine
        mine.replies_since = time.monotonic()
        self._crew.run()
        mine.replies_since = None
        if self._replies:
            self._channel.flush()

    def _reply(self, _: int, reply: bytes) -> None:
        self._replies.append(reply)
        since = self._mine.replies_since
        if since is None:
            self._channel.tell()
        elif time.monotonic() - since > _KEPT:
            self._mine.replies_since = time.monotonic()
            self._channel.flush()

    def _take(self, most: int) -> list[bytes]:
        replies = self._replies
        parts: list[bytes] = []
        while replies and len(parts) < most:
            parts.append(replies.popleft())
        return parts


class _Mine(threading.local):
    """What a thread knows of itself: since when it keeps replies, to send them together."""

    replies_since: float | None = None
