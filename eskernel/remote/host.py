"""Host: runs the requests of a front on a kernel in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from eskernel.errors import DispatchTimeout, EskernelError
from eskernel.remote.asks import ASKS
from eskernel.remote.wire import ASK, COMMAND, Wire
from eskernel.values import StreamId

if TYPE_CHECKING:
    from eskernel.kernel import Kernel

_ASKERS: Final = 64
"""Questions that are answered at once; some wait, for a projection say."""
_LOOK_AGAIN: Final = 0.002  # seconds

Send = Callable[[int, bytes], None]
"""Takes the number of a request and its reply; called from many threads, must not block."""


class HostReply:
    """The reply to a command of a front; see `AnyReply`.

    Args:
        host: whose it is.
        number: of the request.
        stream_id: of the command.
    """

    __slots__ = ("_claim", "_host", "_number", "_tokens", "stream_id")
    quick = True  # it packs a few values and leaves the sending to others

    def __init__(self, host: Host, number: int, stream_id: StreamId) -> None:
        self._host = host
        self._number = number
        self._tokens = [True]  # one, for who answers
        self._claim: dict[str, object] = {}
        self.stream_id = stream_id

    def claim(self, by: object) -> bool:
        """Return whether nobody else claimed it before."""
        return self._claim.setdefault("by", by) is by

    def resolve(self, outcome: Any) -> None:
        """Send the outcome; only the first call counts: popping is one step."""
        try:
            self._tokens.pop()
        except IndexError:
            return
        self._host.answer(self._number, self.stream_id, outcome)


class Host:
    """Takes requests in order and sends their replies as they come.

    Args:
        kernel: started.
        wire: of the same domains.
        send: where replies go.
    """

    def __init__(self, kernel: Kernel, wire: Wire, send: Send) -> None:
        self._kernel = kernel
        self._wire = wire
        self._send = send
        # By number, the commands that are not answered. Entered by the one who takes requests,
        # removed by whoever answers; each is one step of a dictionary.
        self._under_way: dict[int, HostReply] = {}
        self._askers = ThreadPoolExecutor(_ASKERS, thread_name_prefix="eskernel-asker")

    def take(self, requests: Sequence[Sequence[Any]]) -> list[Callable[[], Any]]:
        """Begin requests, in order; the caller lets no two threads do this at once.

        Returns:
            What the caller must run after that, on a thread of its own: each decides some of them.
        """
        runs: list[Callable[[], Any]] = []
        for request in requests:
            kind = request[1]
            if kind == COMMAND:
                self._take_command(request, runs.append)
            elif kind == ASK:
                self._askers.submit(self._answer_ask, request)
            else:
                self._withdraw(request[0])
        return runs

    def answer(self, number: int, stream_id: StreamId, outcome: Any) -> None:
        """Send what became of a command."""
        pack = self._wire.pack_outcome
        try:
            reply = pack(number, stream_id, outcome)
        except Exception as error:  # noqa: BLE001 - somebody waits for an answer, be it this one
            reply = pack(number, stream_id, error)
        self._send(number, reply)
        self._under_way.pop(number, None)

    def drain(self, timeout: float) -> bool:
        """Return whether all commands are answered within so many seconds."""
        deadline = time.monotonic() + timeout
        while self._under_way:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN)
        return True

    def close(self) -> None:
        """Answer no more questions."""
        self._askers.shutdown(wait=False, cancel_futures=True)

    def _take_command(
        self, request: Sequence[Any], run_later: Callable[[Callable[[], Any]], Any]
    ) -> None:
        number = request[0]
        reply = self._under_way[number] = HostReply(self, number, (request[2], request[3]))
        try:
            self._kernel.post(self._wire.unpack_command(request), reply, run_later)
        except Exception as error:  # noqa: BLE001 - the sender's, whatever it is
            reply.resolve(error)

    def _withdraw(self, number: int) -> None:
        reply = self._under_way.get(number)
        if reply is None:
            return  # its outcome is on the way
        started = not reply.claim(self)
        reply.resolve(DispatchTimeout.because("no answer in time", started=started))

    def _answer_ask(self, request: Sequence[Any]) -> None:
        number = request[0]
        try:
            ask = self._wire.unpack_ask(request)
            answer = ASKS[ask.name](self._kernel, self._wire, *ask.arguments)
        except Exception as error:  # noqa: BLE001 - the asker's, whatever it is
            answer = error
        self._send(number, self._packed(number, answer))

    def _packed(self, number: int, answer: Any) -> bytes:
        try:
            return self._wire.pack_value(number, answer)
        except EskernelError as error:  # a value that no codec packs
            return self._wire.pack_value(number, error)
