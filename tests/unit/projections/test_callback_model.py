"""A callback for every event, which cannot be undone."""

import pytest
from projecting_helpers import KEY, ProbedStore

from eskernel.projections.callback_model import CallbackModel
from eskernel.projections.progress import Progress
from eskernel.values import SERVING, Event

EVENT = Event(("thing", "a"), 1, "added", {"n": 1}, position=1)


def test_the_callback_gets_the_event():
    got = []
    CallbackModel(got.append, None, KEY).handle(SERVING, iter([EVENT]))
    assert got == [EVENT]


def test_what_the_callback_raises_is_raised():
    model = CallbackModel(lambda event: 1 / 0, None, KEY)
    with pytest.raises(ZeroDivisionError):
        model.handle(SERVING, iter([EVENT]))


def test_without_a_store_the_position_is_kept_as_long_as_the_model():
    model = CallbackModel(print, None, KEY)
    assert model.load(SERVING) is None
    model.begin(SERVING, Progress(7, "v"))
    assert model.load(SERVING) == Progress(7, "v")
    model.commit(SERVING, Progress(9, "v"), 0)
    assert model.load(SERVING) == model.undo(SERVING) == Progress(9, "v")
    assert model.peek(SERVING) is None


def test_with_a_store_the_position_is_found_by_others():
    store = ProbedStore()
    model = CallbackModel(print, store, KEY)
    model.begin(SERVING, Progress(0, "v"))
    assert model.load(SERVING) is None
    model.commit(SERVING, Progress(9, "v"), 1)
    assert CallbackModel(print, store, KEY).load(SERVING) == Progress(9, "v")
    assert store.load_checkpoint(KEY).state == b""


def test_nobody_waits_for_a_callback():
    assert not CallbackModel(print, None, KEY).is_awaited()


def test_without_a_lease_nothing_is_stored():
    store = ProbedStore()
    model = CallbackModel(print, store, KEY)
    model.commit(SERVING, Progress(9, "v"), None)
    assert store.saves == []
    assert model.undo(SERVING) == Progress(9, "v")
    model.close()
