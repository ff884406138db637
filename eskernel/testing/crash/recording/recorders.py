"""The recorders there are: what they can see, and what they need."""

from __future__ import annotations

from typing import Protocol

from eskernel.testing.crash.recording.library import LibraryRecorder, library_environment
from eskernel.testing.crash.recording.python import PythonRecorder


class Recorder(Protocol):
    """Records what this process does to the files of one folder."""

    def begin(self, folder: str, log: str) -> None:
        """Record from here on.

        Args:
            folder: whose files count, a real path.
            log: file to write the frames to, outside the folder.
        """
        ...

    def end(self) -> None:
        """Record no more; the log is complete."""
        ...


def recorder_of(name: str, pipe: int) -> Recorder:  # pragma: no cover - as what it returns
    """Return a recorder by name, to be made before anything it should see is imported.

    Args:
        name: `"python"` sees functions of `os` and needs nothing; `"library"` sees what any code
            asks of the C library, and needs Linux and a C compiler.
        pipe: descriptor whose writes are recorded as marks.
    """
    if name == "python":
        return PythonRecorder(pipe)
    return LibraryRecorder(pipe)


def environment_of(name: str, folder: str) -> dict[str, str]:
    """Return the environment variables that a process to be recorded must be started with.

    Args:
        name: of the recorder.
        folder: where to keep what must be built first.

    Raises:
        ValueError: there is no recorder of this name.
        OSError: the recorder cannot work here.
    """
    if name not in ("python", "library"):
        raise ValueError(f"recorder must be 'python' or 'library', not {name!r}")
    return library_environment(folder) if name == "library" else {}
