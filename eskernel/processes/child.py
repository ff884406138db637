"""Child: one worker process, from its start to its end, as its parent sees it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, Final

from eskernel.errors import KernelStopped
from eskernel.processes.channel import KEY_BYTES, Channel
from eskernel.remote.failures import PLAIN, fields_to_failure

# Started without `multiprocessing`, which would import the parent's main script once more, and
# pickle what it passes on. A terminal sends SIGINT to all: only the parent heeds it.
_BOOTSTRAP: Final = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "signal.pthread_sigmask(signal.SIG_SETMASK, []); "
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from eskernel.processes.worker import main; main(*map(int, sys.argv[2:]))"
)
_ABOVE_STANDARD: Final = 3
"""The first descriptor that is not standard input, output or error."""

# Held while a process is started, and across each fork: a forked child has no copy of the other
# end of a socket, which would keep the parent from hearing that its worker has ended.
_starting = threading.RLock()
os.register_at_fork(
    before=_starting.acquire,
    after_in_parent=_starting.release,
    after_in_child=_starting.release,
)


class Child:
    """A worker process; it has a Python interpreter of its own, and nothing of the parent's.

    Attributes:
        pid: of the process.
        channel: the way to it.

    Args:
        executable: of Python.
        folder: where it works, and what relative paths are relative to.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, executable: str, folder: str) -> None:
        with _starting:
            own, other = map(_above_standard, socket.socketpair())
            try:
                with other:
                    # -P: the search path is the parent's, without the working directory.
                    command = [executable, "-P", "-c", _BOOTSTRAP, _search_path(folder)]
                    self._process = subprocess.Popen(  # noqa: S603 - this very Python
                        [*command, str(other.fileno()), str(os.getpid())],
                        stdin=subprocess.PIPE,
                        pass_fds=(other.fileno(),),
                        cwd=folder,
                    )
            except BaseException:
                own.close()
                raise
        self.pid = self._process.pid
        self.channel = Channel(own)
        # Held while ending: several threads may hear of the end.
        self._ending = threading.Lock()

    def prepare(self, setup: bytes) -> None:
        """Have it import everything and open its stores, and return when it has.

        Args:
            setup: packed.

        Raises:
            InvalidDomain, InvalidProjection, NotImportable: what it was told is wrong.
            StoreUnavailable, ValueError, ModuleNotFoundError: a store cannot be opened.
            KernelStopped: it is gone.
        """
        key = secrets.token_bytes(KEY_BYTES)
        try:
            assert self._process.stdin is not None
            with self._process.stdin as stdin:
                stdin.write(key)
            self.channel.authenticate(key, first=True)
        except (OSError, EOFError) as error:
            raise self._gone() from error
        self._tell(setup)

    def serve(self, leases: dict[str, Any] | None) -> None:
        """Have it start its kernel, and return when it has.

        Args:
            leases: fields of the `ShardLeases` of its kernel; None for none.

        Raises:
            ValueError: its store cannot keep leases; and anything else a kernel raises when it is
                made and started.
            KernelStopped: it is gone.
        """
        self._tell(PLAIN.pack(leases, "leases"))

    def end(self, timeout: float = 0.0) -> bool:
        """Wait for the end of the process for so many seconds, then kill it.

        Returns:
            Whether it ended by itself.
        """
        with self._ending:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                return False
            return True

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def is_as_told(self) -> bool:
        """Return whether it has ended of its own accord, after it was told to; after `end`."""
        return self._process.returncode == 0

    def ended(self) -> str:
        """Return how it ended, in words; after `end`."""
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"worker process {self.pid} {how}"

    def abandon(self) -> None:
        """Forget it, in a forked child of the parent: it is not this process's."""
        self.channel.abandon()

    def _tell(self, message: bytes) -> None:
        try:
            self.channel.send(message)
            failure = PLAIN.unpack(self.channel.receive())
        except (OSError, EOFError) as error:
            raise self._gone() from error
        if failure is not None:
            raise fields_to_failure(failure, {})

    def _gone(self) -> KernelStopped:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        if self._process.poll() is None:
            return KernelStopped(f"worker process {self.pid} closed its socket; see its output")
        return KernelStopped(f"{self.ended()} before it was ready; see its output for the reason")


def _search_path(folder: str) -> str:
    """Return `sys.path` as JSON, as it holds in any working directory."""
    return json.dumps([os.path.join(folder, entry) for entry in sys.path])


def _above_standard(one: socket.socket) -> socket.socket:
    """Return a socket that is none of the standard descriptors, which a parent may have closed."""
    if one.fileno() >= _ABOVE_STANDARD:
        return one
    with one:
        return socket.socket(
            fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD)
        )
