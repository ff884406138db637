"""The bank account as two plain Pykka actors, a thread each: a manager, then the aggregate."""

from __future__ import annotations

from typing import Any

from pykka import ActorRef, ThreadingActor

from domains.bank_account import Event, apply_event, handle_command, init
from eskernel import Command, Rejected


class Account(ThreadingActor):
    """Runs the domain's functions, keeps the state and the events."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self._state = init()
        self._events: list[Event] = []

    def on_receive(self, message: Command) -> Event | Rejected:
        """Decide a command and return the event."""
        event = handle_command(message, self._state)
        if not isinstance(event, Rejected):
            self._state = apply_event(event, self._state)
            self._events.append(event)
        return event


class Manager(ThreadingActor):
    """Starts accounts on their first command and asks them."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self._accounts: dict[str, ActorRef[Account]] = {}

    def on_receive(self, message: Command) -> Any:
        """Ask the account and return its answer."""
        account = self._accounts.get(message.aggregate_id)
        if account is None:
            account = self._accounts[message.aggregate_id] = Account.start()
        return account.ask(message)

    def on_stop(self) -> None:
        """Stop the accounts."""
        for account in self._accounts.values():
            account.stop(block=False)
