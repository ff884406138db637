"""What is stored beside a projection's state."""

import pytest

from eskernel.codec import Codec
from eskernel.errors import CorruptStore
from eskernel.projections.progress import Parked, Progress
from eskernel.values import Checkpoint

PARKED = Parked(4, ("thing", "a"), 2, "added", "ZeroDivisionError: x", 6, 1_000)


def test_everything_comes_back_from_a_checkpoint():
    progress = Progress(0, "v").moved([1, 3, 4, 6], 9)
    progress = progress._replace(parked=(PARKED,), discarded=(3,), generation=2)
    checkpoint = progress.checkpoint(b"state")
    assert checkpoint[:3] == (9, "v", b"state")
    assert Progress.of(checkpoint) == progress


def test_a_stream_id_comes_back_as_a_tuple_of_two():
    found = Progress.of(Progress(4, "v", parked=(PARKED,)).checkpoint(b""))
    assert found.parked[0].stream_id == ("thing", "a")
    assert isinstance(found.parked[0], Parked)


def test_a_checkpoint_without_notes_has_handled_nothing_before_it():
    progress = Progress.of(Checkpoint(7, "v", b"", b""))
    assert progress == Progress.beginning(7, "v")
    assert progress.ledger.reached == 7
    assert progress.moved([9], 10).ledger.ranges[0].start == 8


@pytest.mark.parametrize(
    "notes",
    [
        b"\xc1",
        Codec().pack({}, "notes"),
        Codec().pack([1], "notes"),
        Codec().pack({"ledger": [], "parked": [], "discarded": [], "generation": 0}, "notes"),
        Codec().pack(
            {"ledger": [[1, 0, 0]], "parked": [[1]], "discarded": [], "generation": 0}, "notes"
        ),
    ],
)
def test_notes_that_cannot_be_read_are_a_damage_of_the_store(notes):
    with pytest.raises(CorruptStore, match=r"cannot be (read|decoded)"):
        Progress.of(Checkpoint(1, "v", b"", notes))
