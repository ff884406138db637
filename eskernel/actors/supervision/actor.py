"""SupervisedActor: a Pykka ThreadingActor whose end nobody can miss.

It differs from Pykka 4.5's in what a supervision tree needs: the thread is a daemon, the inbox
closes in one step with death, a failing `on_start` is an exit like any other, a BaseException ends
this actor and no other one of the process, and each watcher hears of the end exactly once.
"""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty
from typing import Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from eskernel.actors.journal import log_and_go_on
from eskernel.actors.supervision.inbox import Exit, Inbox, refuse


class SupervisedActor(pykka.ThreadingActor):
    """Base of the actors that own a thread: supervisors, the manager, the machinery.

    Subclasses use Pykka's hooks `on_start`, `on_receive`, `on_stop` and `on_failure`, and may
    set `wake_at` to have `on_wake` called in time.
    """

    use_daemon_thread = True
    wake_at: float | None = None
    """When to call `on_wake`, on `time.monotonic`; None for never."""

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def on_wake(self) -> None:
        """Run when `wake_at` has passed, after setting it to None."""

    def _start_actor_loop(self) -> None:
        try:
            super()._start_actor_loop()
        except Exception as error:  # no thread to be had: nobody would ever answer
            self._close(Exit(self.actor_ref, error), [])
            raise

    def _actor_loop(self) -> None:
        stop_requests: list[Envelope[Any]] = []
        reason: BaseException | None = None
        try:
            self.on_start()
            while not stop_requests:
                self._step(stop_requests)
        except BaseException as error:  # noqa: BLE001 - the end of this actor, not of the process
            reason = error
        self._end(reason, stop_requests)

    def _step(self, stop_requests: list[Envelope[Any]]) -> None:
        # At most one wake and one message a step: neither keeps the other waiting.
        if self.wake_at is not None and self.wake_at <= time.monotonic():
            self.wake_at = None
            self.on_wake()
        timeout = None if self.wake_at is None else max(0.0, self.wake_at - time.monotonic())
        try:
            envelope = self._inbox.get(timeout=timeout)
        except Empty:
            return
        if isinstance(envelope.message, _ActorStop):
            stop_requests.append(envelope)
        elif envelope.reply_to is None:
            self._handle_receive(envelope.message)
        else:
            self._answer(envelope)

    def _answer(self, envelope: Envelope[Any]) -> None:
        assert envelope.reply_to is not None
        try:
            reply = self._handle_receive(envelope.message)
        except Exception as error:  # noqa: BLE001 - the caller's
            envelope.reply_to.set_exception((type(error), error, error.__traceback__))
        except BaseException as error:
            # Not the error itself: raised again, it would end the actor that asks as well.
            refuse(envelope, f"{self} was ended by the message: {error!r}")
            raise
        else:
            envelope.reply_to.set(reply)

    def _end(self, reason: BaseException | None, stop_requests: list[Envelope[Any]]) -> None:
        try:
            self._run_last_hook(reason)
        except BaseException as error:  # noqa: BLE001 - it ends all the same
            log_and_go_on("error", "actor_hook_failed", actor=str(self), exc_info=error)
        self._close(Exit(self.actor_ref, reason), stop_requests)

    def _close(self, ended: Exit, stop_requests: list[Envelope[Any]]) -> None:
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        waiting, watchers = self._inbox.close(ended)
        for watcher in watchers:
            try:
                watcher(ended)
            except BaseException as error:  # noqa: BLE001 - the others must hear of it too
                log_and_go_on("error", "exit_watcher_failed", actor=str(self), exc_info=error)
        for envelope in stop_requests + waiting:
            if isinstance(envelope.message, _ActorStop) and envelope.reply_to is not None:
                envelope.reply_to.set(None)
            else:
                refuse(envelope, f"{self} ended before handling the message")

    def _run_last_hook(self, reason: BaseException | None) -> None:
        if reason is None:
            self.on_stop()
            return
        log_and_go_on("error", "actor_failed", actor=str(self), exc_info=reason)
        self.on_failure(type(reason), reason, reason.__traceback__)

    @property
    def _inbox(self) -> Inbox:
        inbox = self.actor_inbox
        assert isinstance(inbox, Inbox)
        return inbox


def tell_if_alive(ref: pykka.ActorRef[Any] | None, message: Any) -> None:
    """Send a message nobody misses if the actor has just ended."""
    if ref is not None:
        with suppress(pykka.ActorDeadError):
            ref.tell(message)
