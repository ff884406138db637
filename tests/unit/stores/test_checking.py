"""What durable stores refuse alike, before anything is written."""

from contextlib import closing

import pytest

from eskernel.contracts import Commit
from eskernel.errors import NotStorable
from eskernel.values import Event
from eskernel_stores.file import FileStore
from eskernel_stores.sql import SqlStore

GOOD = ("account", "good")
MALFORMED = {
    "a negative append id": Commit(("a", "b"), [Event(("a", "b"), 1, "t", 1)], 0, -5),
    "an append id of 129 bits": Commit(("a", "b"), [Event(("a", "b"), 1, "t", 1)], 0, 1 << 128),
    "an append id that is no number": Commit(("a", "b"), [Event(("a", "b"), 1, "t", 1)], 0, "x"),
    "a name that is no string": Commit(("a", 5), [Event(("a", 5), 1, "t", 1)], 0, 1),
    "a stream id that is no tuple": Commit(["a", "b"], [Event(["a", "b"], 1, "t", 1)], 0, 1),
    "a name with a lone surrogate": Commit(
        ("a", "\ud800"), [Event(("a", "\ud800"), 1, "t", 1)], 0, 1
    ),
    "a sequence that is no number": Commit(("a", "b"), [Event(("a", "b"), True, "t", 1)], 0, 1),
}


@pytest.fixture(params=["file", "sqlite"])
def reopened(request, tmp_path):
    """Opens the store of the test, again and again."""
    if request.param == "file":
        return lambda: closing(FileStore(tmp_path / "log"))
    return lambda: closing(SqlStore(f"sqlite:///{tmp_path / 'events.db'}"))


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_commit_fails_alone_and_leaves_a_store_that_opens(reopened, what):
    good = Commit(GOOD, [Event(GOOD, 1, "happened", 1)], 0, 7)
    with reopened() as store:
        refused, position = store.append_batch([MALFORMED[what], good])
        assert isinstance(refused, NotStorable | ValueError)
        assert position == 1
    with reopened() as store:
        assert store.fold(GOOD, lambda found, event: [*found, event.payload], []) == [1]
        assert store.last_position() == 1
