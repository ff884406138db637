"""Recording what a writer does to files, and replaying it up to a power cut."""

from eskernel.testing.crash.recording.disk import Disk
from eskernel.testing.crash.recording.frames import Frame, Kind, NotRecordable, read_frames
from eskernel.testing.crash.recording.recorders import Recorder, environment_of, recorder_of

__all__ = [
    "Disk",
    "Frame",
    "Kind",
    "NotRecordable",
    "Recorder",
    "environment_of",
    "read_frames",
    "recorder_of",
]
