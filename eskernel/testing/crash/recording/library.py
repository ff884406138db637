"""Recording below Python: a library, preloaded, that sees what any code asks of the C library."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_name("recorder.c")


class LibraryRecorder:  # pragma: no cover - in the process that preloaded it
    """Speaks to the preloaded library.

    Args:
        pipe: descriptor whose writes are recorded as marks.
    """

    def __init__(self, pipe: int) -> None:
        self._library = ctypes.CDLL(None)  # the process, and what was preloaded into it
        self._pipe = pipe

    def begin(self, folder: str, log: str) -> None:
        """Record from here on; see `Recorder.begin`."""
        self._library.recorder_begin(os.fsencode(folder), os.fsencode(log), self._pipe)

    def end(self) -> None:
        """Record no more."""
        self._library.recorder_end()


def library_environment(folder: str) -> dict[str, str]:
    """Build the library and return the environment that preloads it.

    Args:
        folder: where to put it.

    Raises:
        OSError: this is not Linux, or there is no C compiler, or it fails.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or sys.platform != "linux":
        raise OSError("recording below Python needs Linux and a C compiler named cc, or CC")
    library = str(Path(folder) / "recorder.so")
    done = subprocess.run(  # noqa: S603 - the compiler of this system
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, str(_SOURCE), "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(f"{compiler} cannot build the recorder: {done.stderr}")
    return {"LD_PRELOAD": library}
