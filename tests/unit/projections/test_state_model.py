"""A read model that is one value in memory."""

import pytest
from projecting_helpers import KEY, ProbedStore, Sums, append, unavailable

from eskernel.errors import CorruptStore, InvalidProjection, NotStorable, StoreUnavailable
from eskernel.projections.definition import Definition
from eskernel.projections.progress import Progress
from eskernel.projections.read_model import BUILDING, PREVIOUS
from eskernel.projections.state_model import StateModel
from eskernel.values import SERVING, Checkpoint


def events_of(store):
    return store.fold_all(lambda found, event: [*found, event], [])[0]


@pytest.fixture
def store():
    store = ProbedStore()
    append(store, 10, 20, 30)
    return store


@pytest.fixture
def module():
    return Sums()


@pytest.fixture
def model(store, module):
    return StateModel(Definition("sums", module), store, KEY)


def new(store):
    return StateModel(Definition("sums", Sums()), store, KEY)


def whole(state):
    return state


def handled(model, store, count, slot=SERVING, start=0):
    for event in events_of(store)[start:count]:
        model.handle(slot, iter([event]))
    return Progress(0, "1").moved(list(range(1, count + 1)), count)


def test_nothing_stored_is_nothing_to_load(model):
    assert model.load(SERVING) is None
    assert model.peek(SERVING) is None


def test_what_was_committed_is_loaded_elsewhere(model, store):
    model.begin(SERVING, Progress(0, "1"))
    progress = handled(model, store, 3)
    model.commit(SERVING, progress, 1)
    other = new(store)
    assert other.peek(SERVING) == other.load(SERVING) == progress
    assert other.read(whole) == {"sum": 60, "seen": [1, 2, 3]}


def test_without_a_lease_a_commit_stays_in_memory(model, store):
    model.begin(SERVING, Progress(0, "1"))
    progress = handled(model, store, 2)
    model.commit(SERVING, progress, None)
    assert store.saves == []
    handled(model, store, 3, start=2)
    assert model.undo(SERVING) == progress
    assert model.read(whole) == {"sum": 30, "seen": [1, 2]}


def test_a_change_in_place_is_undone(model, store):
    model.begin(SERVING, Progress(0, "1"))
    handled(model, store, 3)
    assert model.undo(SERVING) == Progress(0, "1")
    assert model.read(whole) == {"sum": 0, "seen": []}


def test_what_is_read_shares_nothing_with_the_state(model):
    model.begin(SERVING, Progress(0, "1"))
    model.read(whole)["seen"].append("mine")
    model.read(lambda state: state["seen"]).append("mine")
    assert model.read(whole) == {"sum": 0, "seen": []}


def test_what_cannot_be_copied_cannot_be_read(model):
    model.begin(SERVING, Progress(0, "1"))
    with pytest.raises(NotStorable, match="what was read"):
        model.read(lambda state: object())


def test_a_handler_that_forgets_to_return_the_state_is_told_so(store):
    forgetful = Sums()
    forgetful.handle_event = lambda event, state: None
    model = StateModel(Definition("sums", forgetful), store, KEY)
    model.begin(SERVING, Progress(0, "1"))
    with pytest.raises(InvalidProjection, match="returned None; return the state"):
        model.handle(SERVING, iter([events_of(store)[0]]))


def test_none_may_be_a_state(store):
    silent = Sums()
    silent.init = lambda: None
    silent.handle_event = lambda event, state: None
    model = StateModel(Definition("sums", silent), store, KEY)
    model.begin(SERVING, Progress(0, "1"))
    progress = handled(model, store, 3)
    model.commit(SERVING, progress, 1)
    assert model.read(whole) is None
    assert model.undo(SERVING) == progress


def test_an_initial_state_that_cannot_be_stored_is_refused(store):
    module = Sums()
    module.init = object
    model = StateModel(Definition("sums", module), store, KEY)
    with pytest.raises(NotStorable, match="state"):
        model.begin(SERVING, Progress(0, "1"))


def test_a_state_that_cannot_be_stored_is_not_committed(model, store):
    model.begin(SERVING, Progress(0, "1"))
    progress = handled(model, store, 1)
    model._states[SERVING]["spoiled"] = object()
    with pytest.raises(NotStorable, match=r"state\['spoiled'\]"):
        model.commit(SERVING, progress, 1)
    assert store.saves == []
    assert model.undo(SERVING) == Progress(0, "1")


def test_loading_drops_what_was_not_committed(model, store):
    model.begin(SERVING, Progress(0, "1"))
    model.commit(SERVING, handled(model, store, 1), 1)
    handled(model, store, 3, start=1)
    assert model.load(SERVING).position == 1
    assert model.read(whole) == {"sum": 10, "seen": [1]}


def test_damaged_notes_are_found_when_loaded(model, store):
    store.save_checkpoints(KEY, 1, {SERVING: Checkpoint(1, "1", b"", b"\xc1")})
    for look in (model.load, model.peek):
        with pytest.raises(CorruptStore):
            look(SERVING)


def built(model, store):
    model.begin(SERVING, Progress(0, "0"))
    model.commit(SERVING, serving := handled(model, store, 1), 1)
    model.begin(BUILDING, Progress(0, "1"))
    model.commit(BUILDING, building := handled(model, store, 3, BUILDING), 1)
    return serving, building


def test_what_was_built_serves_and_what_served_is_kept(model, store):
    serving, building = built(model, store)
    model.promote(serving, building, 1)
    for one in (model, new(store)):
        if one is not model:
            one.load(SERVING)
        assert one.peek(SERVING) == building
        assert one.peek(PREVIOUS) == serving
        assert one.peek(BUILDING) is None
        assert one.read(whole)["sum"] == 60


def test_a_rollback_exchanges_what_serves_and_what_served(model, store):
    serving, building = built(model, store)
    model.promote(serving, building, 1)
    again = serving._replace(generation=2)
    model.roll_back(building, again, 1)
    assert (model.peek(SERVING), model.peek(PREVIOUS)) == (again, building)
    assert model.read(whole) == {"sum": 10, "seen": [1]}


@pytest.mark.parametrize("interrupted", ["promote", "roll_back"])
def test_an_exchange_that_failed_leaves_what_is_stored(interrupted, model, store):
    serving, building = built(model, store)
    if interrupted == "roll_back":
        model.promote(serving, building, 1)
        serving, building = building, serving
    before = [model.peek(slot) for slot in (SERVING, BUILDING, PREVIOUS)]
    store.before["save_checkpoints"] = unavailable
    with pytest.raises(StoreUnavailable):
        getattr(model, interrupted)(serving, building, 1)
    assert [model.peek(slot) for slot in (SERVING, BUILDING, PREVIOUS)] == before


def test_a_dropped_slot_is_empty(model, store):
    built(model, store)
    model.drop(BUILDING, 1)
    assert model.peek(BUILDING) is None
    assert model.load(BUILDING) is None
    assert model.read(whole)["sum"] == 10
    model.close()
