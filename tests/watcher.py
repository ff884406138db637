"""Ends servers and removes their folder when the process that started them ends, even killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from signal import Signals

# Waits until its input ends, as it does with its parent, and then ends the servers last told of.
_PROGRAM = """
import os, shutil, sys, time
pids = []
for line in sys.stdin:
    pids = [int(word) for word in line.split()]
def lives(pid, number=0):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
pids = [pid for pid in pids if lives(pid, int(sys.argv[2]))]
for _ in range(200):
    pids = [pid for pid in pids if lives(pid)]
    if not pids:
        break
    time.sleep(0.05)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class Watcher:
    """A process that outlives its owner by as long as it takes to clean up.

    Args:
        folder: is removed in the end.
        signal: ends a server.
    """

    def __init__(self, folder: Path, signal: Signals) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(folder), str(int(signal))],
            stdin=subprocess.PIPE,
            start_new_session=True,  # survives Ctrl-C, to do its work
        )

    def watch(self, *pids: int) -> None:
        """Tell which servers run now."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{' '.join(map(str, pids))}\n".encode())
        self._process.stdin.flush()

    def close(self) -> None:
        """End what still runs, and return when the folder is removed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
