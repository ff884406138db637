"""What the tests of feeds share."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from support import eventually

from eskernel.errors import CorruptStore, StoreUnavailable
from eskernel.values import Event
from eskernel_stores import MemoryStore

STREAM = ("bank_account", "acc-1")
OTHER = ("order", "o-1")


def append(store, *types, stream_id=STREAM):
    """Append an event of each type."""
    before = store.fold(stream_id, lambda number, _: number + 1, 0)
    events = [Event(stream_id, n, name, {"n": n}) for n, name in enumerate(types, before + 1)]
    return store.append(stream_id, events, expected_sequence=before)


class ObservedStore(MemoryStore):
    """A MemoryStore that counts what is read of it, and fails when told to.

    Attributes:
        looks: calls of fold_all.
        handed: events it handed to who folds its log.
        down: whether fold_all raises StoreUnavailable.
        damaged: a position at which it raises CorruptStore.
    """

    def __init__(self):
        super().__init__()
        self.looks = self.handed = 0
        self.down = False
        self.damaged = None

    def fold_all(self, function, initial, *arguments, **options):
        self.looks += 1
        if self.down:
            raise StoreUnavailable("gone for a while")

        def counting(accumulator, event):
            if event.position == self.damaged:
                raise CorruptStore("damaged", event.stream_id, event.sequence)
            self.handed += 1
            return function(accumulator, event)

        return super().fold_all(counting, initial, *arguments, **options)

    def wait_for_looks(self, number):
        enough = self.looks + number
        eventually(lambda: self.looks >= enough)


@contextmanager
def running(target):
    """Run a function on another thread, and fail unless it ends within 5 seconds of the block."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield thread
    thread.join(5)
    assert not thread.is_alive(), "the reader hangs"
