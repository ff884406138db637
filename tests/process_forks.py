"""An initializer of workers, whose fork outlives them."""

import os
import signal
from pathlib import Path


def fork() -> None:
    """Fork a process that has all descriptors of this one, and note its id."""
    child = os.fork()
    if not child:
        signal.pause()
    with Path(os.environ["ESKERNEL_TEST_FORK"]).open("a") as file:
        file.write(f"{child}\n")
