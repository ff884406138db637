"""The nursery: a process that brings up writers, each quickly and each to be killed.

It imports the store's module once and forks itself for every writer, which is safe as long as it
has one thread. Where it has more, or the system cannot fork, it becomes the writer itself and the
next one gets a new nursery.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Final

from eskernel.testing.crash.cradle import rock
from eskernel.testing.crash.opening import Opening
from eskernel.testing.crash.reports import ENDED, OPENING
from eskernel.testing.crash.writer import Load

PATIENCE: Final = 60.0
"""Seconds in which a writer must say something."""

_START: Final = (
    "import json, sys; start = json.loads(sys.stdin.buffer.readline()); sys.path[:] = start[0];"
    f"from {rock.__module__} import {rock.__name__}; {rock.__name__}(*start[1:])"
)


class Nursery:
    """Brings up one writer at a time.

    Args:
        opening: of the store to write to.
        recorder: which recorder of file writes the writers run under, if any.
        environment: more environment variables.
    """

    def __init__(
        self,
        opening: Opening,
        recorder: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._start = [sys.path, opening.module, recorder]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see __exit__
        self._unread = b""
        self.writer = 0
        """Process id of the writer; 0 if there is none."""

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._process is not None:
            self._process.kill()
            self._bury()
        self._complaints.close()

    def begin(self, opening: Opening, load: Load, recorded: tuple[str, str] | None = None) -> None:
        """Start a writer.

        Args:
            opening: of its store.
            load: what it does.
            recorded: with a recorder, the folder to watch and the log to write.
        """
        if self._process is None:
            self._hatch()
        self._send([opening, load, recorded])
        report = self.hear()
        if report[0] != OPENING:
            raise ChildProcessError(f"no writer came up: {report}: {self.complaints()}")

    def hear(self, patience: float = PATIENCE) -> list[Any]:
        """Return the writer's next report.

        The last is `["ended", status]`: 0 or more for its exit status, less for a signal.

        Raises:
            TimeoutError: it said nothing within `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while b"\n" not in self._unread:
            assert self._process is not None
            assert self._process.stdout is not None
            if not select.select([self._process.stdout], [], [], deadline - time.monotonic())[0]:
                raise TimeoutError(f"the writer said nothing for {patience:g} seconds")
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                return [ENDED, self._bury()]
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        report: list[Any] = json.loads(line)
        if report[0] == OPENING:
            self.writer = report[1]
        elif report[0] == ENDED:
            self.writer = 0
        return report

    def kill(self) -> None:
        """End the writer by SIGKILL, if there is one; what it said before is still to be heard."""
        if self.writer:
            os.kill(self.writer, signal.SIGKILL)  # still its own, until heard to have ended

    def complaints(self) -> str:
        """Return the end of what the writers wrote to standard error."""
        size = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, size - 3000))
        return self._complaints.read().decode(errors="replace")

    def _hatch(self) -> None:
        self._unread = b""
        self._process = subprocess.Popen(  # noqa: S603 - this Python
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=self._environment,
            start_new_session=True,
        )
        self._send(self._start)

    def _send(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _bury(self) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        status = self._process.wait()
        self._process = None
        self.writer = 0
        return status
