"""A backend of which the README's table of stores says something that is to be tried."""

from __future__ import annotations

import signal
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from backends import new_url
from store_helpers import start_program

from eskernel.values import Event
from eskernel_stores import open_store

STREAM = ("bank_account", "acc-1")

_APPEND = """
from eskernel_stores import open_store
store = open_store({url!r})
event = Event({stream!r}, {sequence} + 1, "happened", {sequence})
say(store.append({stream!r}, [event], expected_sequence={sequence}))
os.kill(os.getpid(), 9)
"""


class Backend:
    """A backend under test, with one store of it."""

    def __init__(self, kind: str, path: Path, request: Any, stores: ExitStack) -> None:
        self.kind = kind
        self._request = request
        self._path = path
        self._stores = stores
        self.url = new_url(kind, path / "events", request)
        self.store = self.open()

    def open(self) -> Any:
        return self._stores.enter_context(closing(open_store(self.url)))

    def new_url(self) -> str:
        return new_url(self.kind, self._path / "others", self._request)

    def server(self) -> Any:
        """Return the server, to kill; skips the test where it is not ours."""
        name = "nats" if self.kind == "jetstream" else self.kind
        return self._request.getfixturevalue(f"{name}_to_kill")

    def append(self, number: int = 0) -> None:
        event = Event(STREAM, number + 1, "happened", number)
        self.store.append(STREAM, [event], expected_sequence=number)

    def append_elsewhere(self, number: int = 0) -> None:
        """Append in another process, which is killed as soon as it has its answer."""
        source = _APPEND.format(url=self.url, stream=STREAM, sequence=number)
        with start_program(source) as program:
            out, errors = program.communicate(timeout=60)
        assert (program.returncode, errors) == (-signal.SIGKILL, ""), errors
        assert int(out) > 0

    def payloads(self, store: Any = None) -> list[Any]:
        payloads: list[Any] = (store or self.store).fold(
            STREAM, lambda found, e: [*found, e.payload], []
        )
        return payloads
