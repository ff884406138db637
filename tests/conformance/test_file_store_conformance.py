"""FileStore keeps every guarantee, also when it is opened again."""

from functools import partial
from itertools import count

import pytest

from eskernel.testing import checkpoint_store_checks, event_store_checks, snapshot_store_checks
from eskernel_stores.file import FileStore

FEW, MANY = 32 << 20, 2000
"""Bytes in a segment, for logs of one segment and of many."""


@pytest.mark.parametrize(
    ("check", "segment_bytes"),
    [
        *((check, size) for check in event_store_checks() for size in (FEW, MANY)),
        *((check, FEW) for check in (*snapshot_store_checks(), *checkpoint_store_checks())),
    ],
)
def test_file_store_keeps_its_guarantee(check, segment_bytes, tmp_path):
    roots = (tmp_path / str(number) for number in count())
    opened = partial(FileStore, segment_bytes=segment_bytes)

    def reopen(store):
        store.close()
        return opened(store._root)

    assert check(lambda: opened(next(roots)), reopen) or check.needs == "immediate"
