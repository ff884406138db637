"""What worker processes are told to call first."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import structlog


def quiet() -> None:
    """Keep the log from drawing tracebacks, which takes longer than what is tested."""
    level = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=level)


def fork() -> None:
    """Fork a process that has all descriptors of this one, and note its id."""
    child = os.fork()
    if not child:
        signal.pause()
    with Path(os.environ["ESKERNEL_TEST_FORK"]).open("a") as file:
        file.write(f"{child}\n")
