"""The cradle: the nursery's other side, which becomes the writers."""

from __future__ import annotations

import json
import os
import sys
import threading
from importlib import import_module
from typing import Any, NoReturn

from eskernel.testing.crash.opening import Opening
from eskernel.testing.crash.recording import Recorder, recorder_of
from eskernel.testing.crash.reports import ENDED, Reports
from eskernel.testing.crash.writer import Load, write


def rock(module: str, recorder: str | None) -> None:  # pragma: no cover - in the other process
    """Bring up one writer for each line of standard input, until it ends.

    Args:
        module: what the writers import, brought in once.
        recorder: name of the recorder of file writes, or None.
    """
    pipe = os.dup(1)
    os.dup2(2, 1)  # what a store prints must not look like a report
    reports = Reports(pipe)
    recording = recorder_of(recorder, pipe) if recorder else None  # before the store is imported
    import_module(module)
    child = 0
    for line in sys.stdin.buffer:
        if child:
            os.waitpid(child, 0)
        child = _bring_up(json.loads(line), reports, recording)


def _bring_up(
    message: Any, reports: Reports, recording: Recorder | None
) -> int:  # pragma: no cover - in the other process
    """Report how the writer ended: its exit status, or minus the signal that killed it.

    Returns:
        Its process id, which must not go to another process before everybody knows it has ended.
    """
    if not hasattr(os, "waitid") or threading.active_count() > 1:
        _live(message, reports, recording)
        os._exit(0)
    child = os.fork()
    if not child:
        _live_and_die(message, reports, recording)
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    sign = 1 if ended.si_code == os.CLD_EXITED else -1
    reports.tell(ENDED, sign * ended.si_status)
    return child


def _live_and_die(
    message: Any, reports: Reports, recording: Recorder | None
) -> NoReturn:  # pragma: no cover - in the other process
    status = 1
    try:
        _live(message, reports, recording)
        status = 0
    except BaseException:  # noqa: BLE001 - the end of this process, seen by who started it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _live(
    message: Any, reports: Reports, recording: Recorder | None
) -> None:  # pragma: no cover - in the other process
    opening, load, recorded = Opening(*message[0]), Load(*message[1]), message[2]
    if recording is not None:
        recording.begin(*recorded)
    try:
        write(opening, load, reports, os.getpid())
    finally:
        if recording is not None:
            recording.end()
