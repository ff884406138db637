import random

from hypothesis import given
from hypothesis import strategies as st

from eskernel.actors.supervision import Backoff

seconds = st.floats(1e-6, 1e4)
shares = st.floats(0, 1)
attempts = st.integers(1, 500)
seeds = st.integers(0, 2**32)


class FixedRandom(random.Random):
    """Always draws the same number."""

    def __init__(self, drawn):
        super().__init__()
        self.drawn = drawn

    def random(self):
        return self.drawn


@given(seconds, seconds, shares, attempts, seeds)
def test_a_delay_is_never_negative_and_never_longer_than_the_longest(
    first, longest, jitter, attempt, seed
):
    delay = Backoff(first, longest, jitter).delay(attempt, random.Random(seed))
    assert 0 <= delay <= longest


@given(seconds, seconds, attempts)
def test_without_jitter_delays_double_until_the_longest(first, longest, attempt):
    backoff, rng = Backoff(first, longest, jitter=0), random.Random(0)
    assert backoff.delay(attempt, rng) == min(first * 2.0 ** (attempt - 1), longest)


@given(seconds, seconds, shares, attempts, st.floats(0, 1, exclude_max=True))
def test_jitter_takes_away_at_most_its_share(first, longest, jitter, attempt, drawn):
    full = Backoff(first, longest, jitter=0).delay(attempt, random.Random(0))
    delay = Backoff(first, longest, jitter).delay(attempt, FixedRandom(drawn))
    assert full * (1 - jitter) <= delay <= full


@given(seconds, seconds, st.floats(0, 0.5), st.integers(1, 50), seeds)
def test_with_jitter_up_to_a_half_a_later_delay_is_never_shorter_until_the_longest(
    first, longest, jitter, attempt, seed
):
    backoff, rng = Backoff(first, longest, jitter), random.Random(seed)
    earlier, later = backoff.delay(attempt, rng), backoff.delay(attempt + 1, rng)
    if first * 2.0**attempt <= longest:
        assert later >= earlier


def test_the_same_seed_gives_the_same_delays():
    backoff = Backoff()

    def delays():
        rng = random.Random(7)
        return [backoff.delay(attempt, rng) for attempt in range(1, 20)]

    assert delays() == delays()
    assert len(set(delays())) == 19


def test_delays_are_scattered():
    backoff = Backoff(first=1.0, longest=1.0, jitter=0.5)
    rng = random.Random(1)
    delays = [backoff.delay(1, rng) for _ in range(1000)]
    assert min(delays) < 0.55
    assert max(delays) > 0.95
