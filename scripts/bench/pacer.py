"""A process that appends now and then, for `measures.other_process`.

`python -m scripts.bench.pacer URL COUNT` runs a kernel there. It prints a line when it is ready,
and when it has read one dispatches COUNT commands, at random 20 to 120 milliseconds apart, so that
they fall anywhere between two looks of somebody who polls. Then it prints, for each command, when
it was answered, in seconds of the machine's monotonic clock.
"""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from time import monotonic, sleep

from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import account, dispatch_steps, running
from scripts.bench.apart import ROOT

_SHORTEST, _LONGEST = 0.02, 0.12  # seconds


class Pacer:
    """Such a process, seen from the one that measures; end it by `close`.

    Args:
        url: of the database.
        count: how many commands.
    """

    def __init__(self, url: str, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.pacer", url, str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def begin(self) -> None:
        """Have it dispatch."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def answered(self) -> list[float]:
        """Return when each command was answered, after the last."""
        return [float(word) for word in self._read().split()]

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"the pacer ended with status {self._process.returncode}")
        return line

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _be_the_process(url: str, count: int) -> None:
    with closing(SqlStore(url)) as store, running(1, store) as kernel:
        print(flush=True)
        sys.stdin.readline()
        answered = []
        for _ in range(count):
            sleep(random.uniform(_SHORTEST, _LONGEST))
            dispatch_steps(kernel, [(account(0), "deposit", 300)])
            answered.append(monotonic())
        print(*answered, flush=True)


if __name__ == "__main__":
    _be_the_process(sys.argv[1], int(sys.argv[2]))
