"""A process that appends to a PostgreSQL, for `measures.postgresql_processes`.

`python -m scripts.bench.appender URL FIRST COUNT` runs a kernel there, with 32 callers on accounts
from number FIRST on. It prints a line when it is ready, and then, for each line it reads, carries
out COUNT commands and prints a line.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

from eskernel_stores.sql import SqlStore
from scripts.bench.accounts import running
from scripts.bench.apart import ROOT
from scripts.bench.callers import APART, shares_apart, shares_load

CALLERS = 32


class Appender:
    """Such a process, seen from the one that measures; end it by `close`.

    Args:
        url: names the schema.
        number: which of several on the same schema it is.
        count: how many commands it carries out at a time.
    """

    def __init__(self, url: str, number: int, count: int) -> None:
        arguments = [url, str(number * APART), str(count)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.appender", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> None:
        """Have it carry out its commands."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Wait until it is ready, or has carried them out; RuntimeError if it has ended."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the appender ended with status {self._process.wait()}")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _be_the_process(url: str, first: int, count: int) -> None:
    with closing(SqlStore(url)) as store, running(0, store) as kernel:
        load = shares_load(kernel, shares_apart(CALLERS, count, first))
        print(flush=True)
        for _ in sys.stdin:
            load.run()
            print(flush=True)


if __name__ == "__main__":
    _be_the_process(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
