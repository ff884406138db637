"""Registry: the consumers of one running kernel; outlives a supervisor that is restarted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pykka
from pykka import ActorRef
from pykka.messages import ProxyCall

from eskernel.actors.supervision import ChildSpec, ask
from eskernel.projections.view import Status, View

_ANSWER_WITHIN: Final = 5.0  # seconds


class Registry:
    """What runs under the ProjectionSupervisor, and what is closed when the kernel stops.

    Attributes:
        supervisor: the present one; None before the first has started.
    """

    def __init__(self) -> None:
        # A spec is in here before the supervisor is asked to start it, and a supervisor that
        # starts begins with all that are here: so one of the two starts it.
        self._specs: dict[str, ChildSpec] = {}
        self.supervisor: ActorRef[Any] | None = None
        self._views: dict[str, View] = {}
        self._closers: dict[object, Callable[[], Any]] = {}

    def specs(self) -> list[ChildSpec]:
        """Return what is to run, in the order it came."""
        return list(self._specs.values())

    def add(self, spec: ChildSpec, view: View) -> None:
        """Run a consumer from now on; raises ValueError if there is one of that name.

        A supervisor that waits for the end of another one, which hangs, starts it a little later.
        """
        if self._specs.setdefault(spec.name, spec) is not spec:
            raise ValueError(f"there is a {spec.name} already; names are unique")
        self._views[spec.name] = view
        with suppress(pykka.Timeout):  # it is in the inbox, before what would stop it again
            self._have("start_child", spec)

    def remove(self, name: str) -> None:
        """Stop a consumer, and wait for its end."""
        if self._specs.pop(name, None) is not None:
            view = self._views.pop(name)
            try:
                self._have("stop_child", name)
            finally:
                view.become(Status.ENDED)

    def _have(self, method: str, argument: Any) -> None:
        """Have the supervisor do something; one that is being restarted does so by itself."""
        if self.supervisor is not None:
            call = ProxyCall(attr_path=(method,), args=(argument,), kwargs={})
            with suppress(pykka.ActorDeadError, ValueError, KeyError):
                ask(self.supervisor, call, _ANSWER_WITHIN)

    def on_end(self, key: object, close: Callable[[], Any]) -> None:
        """Have a function called when the kernel ends."""
        self._closers[key] = close

    def forget(self, key: object) -> None:
        """Have it called no more."""
        self._closers.pop(key, None)

    def end(self) -> None:
        """Tell everybody who waits that nothing more will come."""
        for close in list(self._closers.values()):
            close()
        for view in list(self._views.values()):
            view.become(Status.ENDED)
