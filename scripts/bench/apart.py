"""Running a measure apart: in a process of its own, so that none feels the memory of another.

Run as `python -m scripts.bench.apart NAME SCALE` it is that process: each line it prints is JSON,
a string for a word on the progress and, at the end, a list of figures.
"""

from __future__ import annotations

import faulthandler
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import structlog

from scripts.bench.figure import Figure
from scripts.bench.measures import load_measure
from scripts.bench.timing import Say

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 120
"""Seconds between two words of a measure, after which it is taken to hang."""


class MeasureFailed(Exception):
    """The measure's process ended without figures; what it printed tells why."""


def run_apart(name: str, scale: float, say: Say) -> list[Figure]:
    """Run a measure in a fresh process.

    Raises:
        MeasureFailed: it has no figures.
    """
    argv = [sys.executable, "-m", "scripts.bench.apart", name, str(scale)]
    figures = None
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            spoken = json.loads(line)
            if isinstance(spoken, str):
                say(spoken)
            else:
                figures = [Figure(**fields) for fields in spoken]
    if figures is None or process.returncode:
        raise MeasureFailed(f"{name} ended with status {process.returncode}")
    return figures


def _speak(spoken: object) -> None:
    """Print a line of JSON; unless another follows in time, the process ends with a traceback."""
    faulthandler.dump_traceback_later(_PATIENCE, exit=True)
    print(json.dumps(spoken), flush=True)


def _be_the_process(name: str, scale: float) -> None:
    # What is logged, that a worker was killed for example, must not come between the lines of JSON.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _speak("begins")
    figures = load_measure(name)(scale, _speak)
    _speak([asdict(figure) for figure in figures])


if __name__ == "__main__":
    _be_the_process(sys.argv[1], float(sys.argv[2]))
