"""Cores: a measure once more, with the whole process on one of them.

Python runs one thread at a time. On a virtual machine, waking a thread on another, sleeping core
costs 10 to 50 microseconds, several times what a dispatch does; on one core it costs two or three.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from scripts.bench.figure import Figure


def here_and_on_one_core(measure: Callable[[], Figure]) -> list[Figure]:
    """Take a figure as the system places threads, and on one core, where it only informs.

    Args:
        measure: starts every thread it measures, ours and the rival's.
    """
    figures = [measure()]
    if hasattr(os, "sched_setaffinity"):  # Linux
        with _one_core():
            figure = measure()
        figures.append(replace(figure, measure=f"{figure.measure}, on one core", at_least=None))
    return figures


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this thread, and those it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
