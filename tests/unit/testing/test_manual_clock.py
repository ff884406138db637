from threading import Thread

import pytest

from eskernel.contracts import Clock
from eskernel.testing import ManualClock


def test_time_stands_still_until_it_is_advanced():
    clock = ManualClock(1_000.0)
    assert (clock.time(), clock.monotonic()) == (1_000.0, 0.0)
    assert clock.time() == 1_000.0


def test_advancing_moves_both_readings_alike():
    clock = ManualClock(1_000.0)
    clock.advance(2.5)
    clock.advance(0)
    assert (clock.time(), clock.monotonic()) == (1_002.5, 2.5)


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
def test_a_clock_does_not_go_back(seconds):
    clock = ManualClock()
    with pytest.raises(ValueError, match="only goes forward"):
        clock.advance(seconds)
    assert clock.monotonic() == 0


def test_no_advance_is_lost_between_threads():
    clock: Clock = ManualClock()
    threads = [Thread(target=lambda: [clock.advance(1) for _ in range(2_000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic() == 16_000
