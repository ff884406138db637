"""How a projection is run, checked when it is said."""

import pytest

from eskernel import Projection


def test_a_module_alone_is_enough():
    options = Projection("module")
    assert (options.on_failure, options.retries, options.store) == ("stop", 5, None)


@pytest.mark.parametrize("on_failure", ["skip", None, True])
def test_what_happens_to_a_failing_event_is_one_of_two(on_failure):
    with pytest.raises(ValueError, match="on_failure must be 'stop' or 'park'"):
        Projection("module", on_failure=on_failure)


@pytest.mark.parametrize("name", ["retries", "parked_limit", "checkpoint_events"])
@pytest.mark.parametrize("number", [-1, 1.0, True, "1", None])
def test_a_count_is_a_whole_number(name, number):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least"):
        Projection("module", **{name: number})


def test_a_checkpoint_takes_one_event_at_least_while_nothing_need_be_retried_or_parked():
    Projection("module", retries=0, parked_limit=0, checkpoint_events=1)
    with pytest.raises(ValueError, match="checkpoint_events must be a whole number of at least 1"):
        Projection("module", checkpoint_events=0)


@pytest.mark.parametrize(
    "name",
    ["first_retry", "longest_retry", "checkpoint_seconds", "lease_seconds", "poll_interval"],
)
@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True, "1", None])
def test_a_time_is_a_number_of_seconds_above_0(name, seconds):
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds above 0"):
        Projection("module", **{name: seconds})
    assert getattr(Projection("module", **{name: 2}), name) == 2
