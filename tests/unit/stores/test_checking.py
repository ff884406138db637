"""What durable stores refuse alike, before anything is written."""

from contextlib import closing

import pytest

from eskernel.contracts import Commit
from eskernel.errors import NotStorable
from eskernel.values import Checkpoint, Event
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


GOOD_CHECKPOINT = Checkpoint(1, "v", b"\x01")
MALFORMED_SAVES = {
    "a position below 0": (1, GOOD_CHECKPOINT._replace(position=-1)),
    "a position of 64 bits": (1, GOOD_CHECKPOINT._replace(position=2**63)),
    "a position that is no number": (1, GOOD_CHECKPOINT._replace(position=True)),
    "an epoch below 0": (-1, GOOD_CHECKPOINT),
    "an epoch that is no number": (1.0, GOOD_CHECKPOINT),
    "a version that is no string": (1, GOOD_CHECKPOINT._replace(version=2)),
    "a version with NUL": (1, GOOD_CHECKPOINT._replace(version="a\0")),
    "a state that is not packed": (1, GOOD_CHECKPOINT._replace(state={"balance": 1})),
    "notes that are not packed": (1, GOOD_CHECKPOINT._replace(notes=None)),
}


@pytest.mark.parametrize("what", MALFORMED_SAVES)
def test_a_malformed_checkpoint_is_refused_and_nothing_of_the_save_stored(reopened, what):
    epoch, malformed = MALFORMED_SAVES[what]
    with reopened() as store:
        with pytest.raises(NotStorable):
            store.save_checkpoints("name", epoch, {"a": GOOD_CHECKPOINT, "b": malformed})
        assert store.load_checkpoint("name", "a") is None
        store.save_checkpoints("name", 0, {"a": GOOD_CHECKPOINT})
