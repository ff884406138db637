"""A small durable store, and ones that break a promise of it: the crash kit must tell them apart.

One file holds one record for each append: its length, a checksum, and the append.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from struct import Struct
from zlib import crc32

from eskernel.codec import Codec
from eskernel.errors import ConcurrencyConflict, CorruptStore, StoreUnavailable
from eskernel.values import Event
from eskernel_stores import MemoryStore
from eskernel_stores.file import FileStore
from eskernel_stores.sql import SqlStore

_HEAD = Struct("<II")
_CODEC = Codec()


class LogStore(MemoryStore):
    """Keeps the guarantees it is tested for."""

    def __init__(self, folder):
        super().__init__()
        self._writing_lock = threading.RLock()
        path = Path(folder) / "log"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._recover(path.read_bytes())
        self.sync(self._file)
        self._sync_folder(folder)

    def _recover(self, content):
        end = 0
        while record := self._record_at(content, end):
            self._load(_CODEC.unpack(record))
            end += _HEAD.size + len(record)
        self._cut_tail(end, content)
        os.lseek(self._file, 0, os.SEEK_END)

    def _record_at(self, content, at):
        head = content[at : at + _HEAD.size]
        if len(head) < _HEAD.size:
            return b""
        length, checksum = _HEAD.unpack(head)
        record = content[at + _HEAD.size : at + _HEAD.size + length]
        return record if len(record) == length and self.sum(record) == checksum else b""

    def _load(self, record):
        stream_id, expected, append_id, events = record
        stream_id = tuple(stream_id)
        made = [
            Event(stream_id, expected + n, kind, payload, metadata, tuple(tags), time, None, by)
            for n, (kind, payload, metadata, tags, time, by) in enumerate(events, 1)
        ]
        super().append(stream_id, made, expected_sequence=expected, append_id=append_id)

    def _cut_tail(self, end, content):
        os.ftruncate(self._file, end)

    def _sync_folder(self, folder):
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def sync(self, descriptor):
        os.fdatasync(descriptor)

    def sum(self, record):
        return crc32(record)

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        with self._writing_lock:
            before = self.last_position()
            position = super().append(
                stream_id, events, expected_sequence=expected_sequence, append_id=append_id
            )
            if self.last_position() > before:
                self._keep(stream_id, events, expected_sequence, append_id)
            return position

    def append_batch(self, commits):
        results = []
        for stream_id, events, expected, append_id in commits:
            try:
                results.append(
                    self.append(stream_id, events, expected_sequence=expected, append_id=append_id)
                )
            except ConcurrencyConflict as conflict:
                results.append(conflict)
        return results

    def _keep(self, stream_id, events, expected, append_id):
        self._write(self._record(stream_id, events, expected, append_id))
        self.sync(self._file)

    def _record(self, stream_id, events, expected, append_id):
        facts = [
            (e.type, e.payload, dict(e.metadata), e.tags, e.timestamp, e.command_id) for e in events
        ]
        record = _CODEC.pack([stream_id, expected, append_id, facts])
        return _HEAD.pack(len(record), self.sum(record)) + record

    def _write(self, data):
        os.write(self._file, data)

    def close(self):
        with suppress(OSError):
            os.close(self._file)


class AcknowledgesFirst(LogStore):
    """Writes an append only when the next one comes, or when it is closed."""

    waiting = ()

    def _keep(self, *append):
        if self.waiting:
            super()._keep(*self.waiting)
        self.waiting = append

    def close(self):
        if self.waiting:
            super()._keep(*self.waiting)
            self.waiting = ()
        super().close()


class WritesHalf(LogStore):
    """Writes the events of an append one by one."""

    def _keep(self, stream_id, events, expected, append_id):
        for n, event in enumerate(events):
            self._write(self._record(stream_id, [event], expected + n, append_id))
            self.sync(self._file)


class KeepsTornTails(LogStore):
    """Writes on behind what it could not read."""

    def _write(self, data):
        os.write(self._file, data[:50])
        self.sync(self._file)
        os.write(self._file, data[50:])

    def _cut_tail(self, end, content):
        if end < len(content):
            os.lseek(self._file, 0, os.SEEK_END)


class ForgetsIds(LogStore):
    """Does not know an append that is sent again."""

    def _load(self, record):
        super()._load([*record[:2], None, record[3]])


class ForgetsToSync(LogStore):
    """Leaves it to the system when to write."""

    def sync(self, descriptor):
        pass


class ForgetsToSyncTheFolder(LogStore):
    """Its file may have no name after a power cut."""

    def _sync_folder(self, folder):
        pass


class ChecksNothing(LogStore):
    """Takes any bytes for a record."""

    def sum(self, record):
        return 0


class CrashesOnOpening(LogStore):
    """Cannot read what it wrote."""

    def _recover(self, content):
        if content:
            raise CorruptStore("cannot read my own log")
        super()._recover(content)


class WritesBehindTheRecorder(LogStore):
    """Uses a file object, which writes in C."""

    def _write(self, data):
        with open(self._file, "ab", closefd=False) as file:
            file.write(data)


class FailsAtTimes(LogStore):
    """Stores nothing, and says so, while there is a file `down` in its folder."""

    outcome_unknown = False

    def __init__(self, folder):
        self._flag = Path(folder) / "down"
        super().__init__(folder)

    def _is_down(self):
        return self._flag.exists()

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        if self._is_down():
            self._fail(stream_id, events, expected_sequence, append_id)
            raise StoreUnavailable("made to fail", outcome_unknown=self.outcome_unknown)
        return super().append(
            stream_id, events, expected_sequence=expected_sequence, append_id=append_id
        )

    def append_batch(self, commits):
        results = []
        for stream_id, events, expected, append_id in commits:
            try:
                results.append(
                    self.append(stream_id, events, expected_sequence=expected, append_id=append_id)
                )
            except (ConcurrencyConflict, StoreUnavailable) as error:
                results.append(error)
        return results

    def fold(self, *args, **options):
        if self._is_down():
            raise StoreUnavailable("made to fail")
        return super().fold(*args, **options)

    def store(self, snapshot, *, keep=1):
        if self._is_down():
            raise StoreUnavailable("made to fail")
        super().store(snapshot, keep=keep)

    def _fail(self, *append):
        pass


class FailsAndStores(FailsAtTimes):
    """Stores the append, and says that it does not know."""

    outcome_unknown = True

    def _fail(self, stream_id, events, expected, append_id):
        with suppress(ConcurrencyConflict):
            LogStore.append(
                self, stream_id, events, expected_sequence=expected, append_id=append_id
            )


class DeniesWhatItStored(FailsAndStores):
    """Stores the append, and says that it did not."""

    outcome_unknown = False


class FailsInBatches(FailsAtTimes):
    """Fails a whole batch by raising."""

    def append_batch(self, commits):
        if self._is_down():
            raise StoreUnavailable("made to fail", outcome_unknown=True)
        return super().append_batch(commits)


def small_segments(folder):
    """A FileStore that begins a new file again and again."""
    return FileStore(folder, segment_bytes=20_000)


def sqlite_in(folder, synchronous="FULL"):
    """An SqlStore in a folder; below FULL it may lose what it acknowledged."""
    return SqlStore(f"sqlite:///{folder}/events.db", synchronous=synchronous)
