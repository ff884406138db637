"""A worker that runs on a thread of this process, so that its code can be watched."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import threading
from types import SimpleNamespace
from typing import Any

from eskernel.actors.aggregate.limits import Limits
from eskernel.actors.supervision import Supervisor
from eskernel.processes import worker
from eskernel.processes.channel import KEY_BYTES, Channel
from eskernel.remote.failures import PLAIN
from eskernel.remote.front import Front
from eskernel.remote.router import Router
from eskernel.remote.running import Member, Running
from eskernel.remote.setup import Setup
from eskernel.remote.slot import Slot

OPTIONS = {
    "snapshot_interval": 0,
    "snapshots_kept": 1,
    "passivation_timeout": 5.0,
    "max_live_aggregates": None,
    "dispatch_timeout": 5.0,
    "inbox_limit": 1000,
    "receipts_kept": 1000,
}


def setup_of(domains: Any, event_store: Any = "memory:", **options: Any) -> Setup:
    """Return a setup as a ProcessKernel would make it."""
    named = {
        "snapshot_store": None,
        "checkpoint_store": None,
        "projections": {},
        "middleware": (),
        "clock": None,
        "opener": "eskernel_stores:open_store",
        "initializer": "remote_domain:be_quiet_here",
        **options,
    }
    limits = {name: named.pop(name, default) for name, default in OPTIONS.items()}
    return Setup.of(domains=domains, event_store=event_store, **named, limits=Limits(**limits))


class WorkerInThread:
    """What a parent has of a worker; the other end is a thread that runs `worker.main`.

    Attributes:
        exits: the exit codes that the worker has asked for.
        handlers: by signal, what the worker has set.
        channel: the parent's end.
    """

    def __init__(self, monkeypatch: Any, *, key: bytes | None = None) -> None:
        self.exits: list[int] = []
        self.handlers: dict[int, Any] = {}
        self._theirs: list[Channel] = []
        own, other = socket.socketpair()
        self.channel = Channel(own)
        self.key = os.urandom(KEY_BYTES)
        stdin = io.TextIOWrapper(io.BytesIO(self.key if key is None else key))
        fakes = {
            "os": SimpleNamespace(_exit=self.exits.append),
            "sys": SimpleNamespace(stdin=stdin, stdout=sys.stdout, stderr=None),
            # Handlers can be set by a process's main thread alone.
            "signal": SimpleNamespace(signal=self.handlers.__setitem__, SIGTERM=signal.SIGTERM),
            "Channel": self._their_channel,
            "_watch": lambda channel, parent: None,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(worker, name, fake)
        arguments = (other.detach(), os.getppid())
        self.thread = threading.Thread(target=worker.main, args=arguments, daemon=True)
        self.thread.start()

    def _their_channel(self, own: socket.socket) -> Channel:
        self._theirs.append(Channel(own))
        return self._theirs[0]

    def told(self, message: bytes) -> Any:
        """Send one of the first messages, and return the answer: None, or a failure's fields."""
        self.channel.send(message)
        return PLAIN.unpack(self.channel.receive())

    def prepare(self, setup: Setup, leases: Any = None) -> Any:
        """Return the failure, or None when it serves."""
        self.channel.authenticate(self.key, first=True)
        failure = self.told(setup.packed())
        return failure if failure is not None else self.told(PLAIN.pack(leases))

    def serve(self, setup: Setup) -> LocalFront:
        """Have it serve, and return the front."""
        assert self.prepare(setup) is None
        return LocalFront(setup, self.channel).start()

    def ended(self) -> list[int]:
        """Return the exit codes after its end; closes what the end of a process closes."""
        self.thread.join(10)
        assert not self.thread.is_alive()
        for channel in self._theirs:
            channel.dispose()
        return self.exits


class LocalSupervisor(Supervisor):
    """The root of a front in a test."""


class RunningWorker(Running):
    """One worker, through a slot and a channel, and nothing that restarts it."""

    supervisor = LocalSupervisor

    def __init__(self, router: Router, slot: Slot, channel: Channel) -> None:
        super().__init__(router, [slot])
        self.left = threading.Event()
        self._channel = channel
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def start(self) -> None:
        self.start_root()
        self._listener.start()
        self.slots[0].serve(self._channel)

    def stop(self, timeout: float) -> bool:
        slot = self.slots[0]
        self.over.set()
        slot.close("stopped")
        slot.stop(timeout)
        self._listener.join(10)
        self._channel.dispose()
        self.stop_root()
        self.callbacks.close()
        return not self._listener.is_alive()

    def slot_of(self, shard: int) -> Slot:
        return self.slots[0]

    def members(self) -> list[Member]:
        return [Member("worker", "thread", self.slots[0], True, 0)]

    def abandon(self) -> None:
        self._channel.abandon()

    def _listen(self) -> None:
        slot = self.slots[0]
        try:
            while True:
                if slot.hear(self._channel.receive()):
                    self.left.set()
        except (EOFError, OSError):
            self._channel.close()
        slot.lose("the worker ended")


class LocalFront(Front[RunningWorker]):
    """A front of one worker."""

    def __init__(self, setup: Setup, channel: Channel) -> None:
        super().__init__(setup)
        self.slot = Slot(self._wire, 1000)
        self._channel = channel

    @property
    def left(self) -> threading.Event:
        return self._present().left

    def _new(self) -> RunningWorker:
        return RunningWorker(Router(self._wire.domains, 4), self.slot, self._channel)
