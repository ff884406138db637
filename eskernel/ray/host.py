"""ShardHost: the class of the Ray actors; each runs a whole kernel for one shard."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import ray

from eskernel.actors.owning.options import ShardLeases, can_fence
from eskernel.actors.pool import Job, run_job
from eskernel.leasing import new_owner
from eskernel.ray.answers import BUSY, DONE, FAILED, MOVED, MOVING, STRANGE
from eskernel.ray.session import Session
from eskernel.ray.terms import Terms
from eskernel.remote.failures import PLAIN, failure_to_fields
from eskernel.remote.opening import OpenKernel, prepared
from eskernel.remote.setup import Setup
from eskernel.remote.wire import Wire

_POLL: Final = 1.0
"""Seconds a poll waits for the first answer; it holds one of the actor's threads."""
_FORGET_AFTER: Final = 60.0  # seconds
_STOP_WITHIN: Final = 2.0  # seconds, at least
_RUNNERS: Final = 8
"""Threads that decide commands where the store appends at once."""
_LINGER: Final = 0.5
"""Seconds for which a drained shard still answers. So fronts fetch their last answers, and whoever
has heard of it within `FRESH` is refused by it, rather than left without an answer."""


class ShardHost:
    """One shard's kernel, for all fronts; every method may be called by many threads at once.

    Nothing is opened before the first front comes, so that it can be told what fails.

    Args:
        terms: `Terms.packed`.
        index: which shard.
    """

    def __init__(self, terms: bytes, index: int) -> None:
        self._terms = Terms.unpacked(terms)
        self._index = index
        # Held while the kernel is opened or drained.
        self._life = threading.Lock()
        # Held while a frame is taken: no two are taken at once, and none after `_over` was set.
        self._taking = threading.Lock()
        self._over: bytes | None = None
        self._stopped = False
        self._initialized = False
        self._opened: OpenKernel | None = None
        self._wire: Wire | None = None
        self._sessions: dict[bytes, Session] = {}
        self._runners = ThreadPoolExecutor(_RUNNERS, thread_name_prefix="eskernel-runner")

    def open(self, session: bytes, terms: bytes) -> bytes:
        """Begin a session.

        Args:
            session: a name that was never used before.
            terms: the front's.
        """
        with self._life:
            if self._over is not None:
                return self._over
            try:
                self._terms.check(Terms.unpacked(terms))
                if self._opened is None:
                    self._opened = self._started()
                assert self._wire is not None
                new = Session(self._opened.kernel, self._wire)
            except Exception as error:  # noqa: BLE001 - the front's to raise
                return FAILED + PLAIN.pack(failure_to_fields(error))
            with self._taking:
                self._forget_idle()
                self._sessions[session] = new
        return DONE

    def frame(self, session: bytes, frame: bytes) -> bytes:
        """Begin the requests of a frame, and return what answers there are a little later."""
        with self._taking:
            if self._over is not None:
                return self._over
            known = self._sessions.get(session)
            if known is None:
                return STRANGE
            runs = known.take(frame)
        if runs:
            self._runners.submit(_run_all, runs)
        answers = known.fetch()
        # Something in there takes its time: others run the rest.
        for _ in range(min(len(runs), _RUNNERS)):
            self._runners.submit(_run_all, runs)
        return DONE + answers

    def poll(self, session: bytes) -> bytes:
        """Wait for answers, and return them; a drained shard says so when there are no more."""
        known = self._sessions.get(session)
        if known is None:
            return STRANGE
        if self._stopped and not known.has_answers():
            return MOVED
        return DONE + known.fetch(_POLL)

    def leave(self, session: bytes) -> bytes:
        """End a session."""
        with self._taking:
            known = self._sessions.pop(session, None)
        if known is not None:
            known.close()
        return DONE

    def drain(self, why: bytes, timeout: float, force: bool) -> bytes:
        """Take nothing more, let what is under way end, stop the kernel and close the stores.

        Args:
            why: what fronts are told.
            timeout: seconds for what is under way.
            force: whether to stop even if that takes longer; else the shard then goes on.

        Returns:
            DONE: this actor runs nothing and never will. BUSY: it goes on.
        """
        with self._life:
            if self._stopped:
                return DONE
            with self._taking:
                self._over = why
                sessions = list(self._sessions.values())
            deadline = time.monotonic() + timeout
            drained = all(one.drain(_left(deadline)) for one in sessions)
            if not (drained or force):
                self._over = None
                return BUSY
            if self._opened is not None:
                self._opened.kernel.stop(max(_left(deadline), _STOP_WITHIN))
                self._opened.close()
            self._over = MOVED if why == MOVING else why
            self._stopped = True
            for one in sessions:
                one.close()
            time.sleep(_LINGER)  # in the lock: nobody else is told that this may be ended
        return DONE

    def count(self) -> bytes:
        """Return how many shards there are, as digits."""
        return str(self._terms.shards).encode()

    def place(self) -> bytes:
        """Return the node and the process this runs in, as `node id, space, process id`."""
        return f"{ray.get_runtime_context().get_node_id()} {os.getpid()}".encode()

    def _started(self) -> OpenKernel:
        setup = Setup.unpacked(self._terms.setup)
        if not self._initialized:
            setup.initialize()
        self._initialized = True
        self._wire, stores = prepared(setup)
        try:
            leases = self._leases(stores.store(setup.event_store))
        except BaseException:
            stores.close()
            raise
        opened = OpenKernel(setup, stores, leases)
        opened.start()
        return opened

    def _leases(self, store: Any) -> ShardLeases | None:
        """Return how this shard is fenced, with no lease of an earlier life in the way.

        Ray runs one actor of a name. It may take one for dead that lives, on a node that is cut
        off: that one then has lost its lease, and can store nothing more.
        """
        if not can_fence(store):
            return None  # of two writers the slower one gets a conflict, and no more than that
        terms, owner = self._terms, new_owner()
        leases = ShardLeases(
            shards=terms.shards, seconds=terms.lease_seconds, owner=owner, name=f"ray/{terms.name}"
        )
        name = [leases.lease_name(self._index)]
        (lease,) = store.acquire_leases(name, owner, leases.seconds)
        if lease.owner != owner:
            store.release_leases(name, lease.owner)
        return leases

    def _forget_idle(self) -> None:
        """Drop sessions of fronts that are gone; one that was only idle begins another."""
        for name, session in list(self._sessions.items()):
            if session.is_idle(_FORGET_AFTER):
                del self._sessions[name]
                session.close()


def _run_all(runs: deque[Job]) -> None:
    """Run what others have not taken yet."""
    with suppress(IndexError):
        while True:
            run_job(runs.popleft())


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
