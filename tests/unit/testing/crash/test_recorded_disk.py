"""The recorded disk: all that was synced, and of the rest what a power cut may leave."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys

import pytest
from support import new_seed

from eskernel.testing.crash.recording import Disk, Frame, Kind, environment_of, read_frames

RECORDERS = [
    "python",
    pytest.param(
        "library", marks=pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler")
    ),
]


class Fixed(random.Random):
    """Always the same chance; 0.1 drops every change, 0.3 keeps all of them whole."""

    def __init__(self, chance):
        super().__init__(0)
        self._chance = chance

    def random(self):
        return self._chance


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def left(disk, tmp_path, rng):
    image = tmp_path / "image"
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir()
    disk.cut(rng, image)
    return files_in(image)


def disk_of(tmp_path, *frames):
    (tmp_path / "empty").mkdir(exist_ok=True)
    disk = Disk(tmp_path / "empty")
    for frame in frames:
        disk.apply(frame)
    return disk


NEW = Frame(Kind.OPEN, 3, 1, "a")
FOLDER = Frame(Kind.OPEN, 4, 0, "")
CONTENT = Frame(Kind.WRITE, 3, 0, data=b"x" * 2000)


def sync(descriptor, before):
    return Frame(Kind.SYNC, descriptor, before)


def test_a_file_whose_folder_was_not_synced_may_be_gone(tmp_path):
    disk = disk_of(tmp_path, NEW, CONTENT, sync(3, 2))
    assert left(disk, tmp_path, Fixed(0.1)) == {}
    assert left(disk, tmp_path, Fixed(0.3)) == {"a": b"x" * 2000}


def test_a_file_that_was_not_synced_may_be_empty(tmp_path):
    disk = disk_of(tmp_path, NEW, FOLDER, CONTENT, sync(4, 3))
    assert left(disk, tmp_path, Fixed(0.1)) == {"a": b""}


def test_what_was_synced_is_always_there(tmp_path):
    disk = disk_of(tmp_path, NEW, FOLDER, CONTENT, sync(3, 3), sync(4, 4))
    for seed in range(50):
        assert left(disk, tmp_path, random.Random(seed)) == {"a": b"x" * 2000}


def test_a_sync_covers_only_what_was_written_before_it_began(tmp_path):
    late = Frame(Kind.WRITE, 3, 2000, data=b"late")
    disk = disk_of(tmp_path, NEW, FOLDER, sync(4, 2), CONTENT, late, sync(3, 4))
    assert left(disk, tmp_path, Fixed(0.1)) == {"a": b"x" * 2000}


def test_sectors_are_whole_or_absent_and_a_hole_reads_as_zeros(tmp_path):
    disk = disk_of(tmp_path, NEW, FOLDER, sync(4, 2), CONTENT)
    seen = set()
    for seed in range(300):
        content = left(disk, tmp_path, random.Random(seed))["a"]
        sectors = [set(content[at : at + 512]) for at in range(0, len(content), 512)]
        assert all(len(sector) == 1 for sector in sectors), "half a sector"
        seen.add(tuple(sector == {120} for sector in sectors))
    assert len(seen) > 10
    assert any(not first for first, *_ in (shape for shape in seen if shape))


def test_a_new_name_over_an_old_file_is_one_or_the_other(tmp_path):
    renamed = Frame(Kind.RENAME, path="b", data=b"a")
    disk = disk_of(
        tmp_path,
        *(NEW, FOLDER, CONTENT, sync(3, 3), Frame(Kind.CLOSE, 3)),
        *(Frame(Kind.OPEN, 3, 1, "b"), Frame(Kind.WRITE, 3, 0, data=b"new"), sync(3, 7)),
        *(sync(4, 8), renamed),
    )
    seen = {tuple(sorted(left(disk, tmp_path, random.Random(n)).items())) for n in range(50)}
    assert seen == {(("a", b"x" * 2000), ("b", b"new")), (("a", b"new"),)}


def test_an_emptied_and_a_removed_file_may_come_back(tmp_path):
    disk = disk_of(
        tmp_path, NEW, FOLDER, CONTENT, sync(3, 3), sync(4, 4), Frame(Kind.OPEN, 5, 2, "a")
    )
    assert left(disk, tmp_path, Fixed(0.1)) == {"a": b"x" * 2000}
    assert left(disk, tmp_path, Fixed(0.3)) == {"a": b""}
    disk.apply(Frame(Kind.UNLINK, path="a"))
    assert left(disk, tmp_path, Fixed(0.1)) == {"a": b"x" * 2000}
    assert left(disk, tmp_path, Fixed(0.3)) == {}


PROGRAM = """
import os, random, sys
sys.path[:] = {path!r}
from eskernel.testing.crash.recording import recorder_of
recorder = recorder_of({recorder!r}, 1)
recorder.begin({folder!r}, {log!r})
rng = random.Random({seed})
os.chdir({folder!r})
os.mkdir("sub")
names = ["a", "b", "sub/c", os.path.join({folder!r}, "sub", "d")]
for step in range(300):
    name, other = rng.sample(names, 2)
    flags = rng.choice([os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND])
    descriptor = os.open(name, flags | os.O_CREAT, 0o600)
    data = rng.randbytes(rng.randrange(3000))
    how = rng.randrange(9)
    if how == 0: os.write(descriptor, data)
    elif how == 1: os.writev(descriptor, [data[:10], memoryview(data)[10:]])
    elif how == 2: os.pwrite(descriptor, data, rng.randrange(4000))
    elif how == 3: os.pwritev(descriptor, [data, b"more"], rng.randrange(4000))
    elif how == 4: os.ftruncate(descriptor, rng.randrange(5000))
    elif how == 5: os.posix_fallocate(descriptor, rng.randrange(100), 1 + rng.randrange(5000))
    elif how == 6: os.fsync(descriptor)
    elif how == 7: os.lseek(descriptor, 100, os.SEEK_SET); os.write(descriptor, data)
    else: os.fdatasync(descriptor)
    os.close(descriptor)
    if rng.random() < 0.1: os.unlink(name)
    elif rng.random() < 0.1: os.replace(name, other)
    os.write(1, b"%d\\n" % step)
recorder.end()
os.write(1, b"end")
"""


def recorded(recorder, program, tmp_path):
    folder, log = tmp_path.resolve() / "folder", tmp_path / "log"
    folder.mkdir()
    text = program.format(
        path=sys.path, recorder=recorder, folder=str(folder), log=str(log), seed=new_seed()
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        env=environment_of(recorder, str(tmp_path)),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder, log, done.stdout


@pytest.mark.parametrize("recorder", RECORDERS)
def test_every_change_replayed_gives_the_files_there_are(recorder, tmp_path):
    folder, log, said = recorded(recorder, PROGRAM, tmp_path)
    frames = [*read_frames(log)]
    assert left(disk_of(tmp_path, *frames), tmp_path, Fixed(0.3)) == files_in(folder)
    marks = b"".join(frame.data for frame in frames if frame.kind == Kind.MARK)
    assert marks + b"end" == said


SYNCED = """
import os, sys
sys.path[:] = {path!r}
from eskernel.testing.crash.recording import recorder_of
recorder = recorder_of({recorder!r}, 1)
recorder.begin({folder!r}, {log!r})
descriptor = os.open({folder!r} + "/a", os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
os.write(descriptor, b"at once")
os.fsync(os.open({folder!r}, os.O_RDONLY))
os.write(1, b"told")
recorder.end()
"""


@pytest.mark.parametrize("recorder", RECORDERS)
def test_a_file_opened_to_be_synced_at_every_write_is(recorder, tmp_path):
    _, log, _ = recorded(recorder, SYNCED, tmp_path)
    disk = disk_of(tmp_path, *read_frames(log))
    assert left(disk, tmp_path, Fixed(0.1)) == {"a": b"at once"}
