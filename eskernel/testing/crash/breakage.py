"""What a campaign raises: the guarantee broken, and how to see it broken again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random, SystemRandom


class BrokenByCrash(AssertionError):
    """A store does not keep its promises after a crash; `__cause__` tells where it showed.

    Attributes:
        seed: repeats the campaign, as far as threads and the moment of a kill can be repeated.
        crash: which crash of the campaign, from 1 on.
    """

    def __init__(self, seed: int, crash: int, what: str, error: Exception) -> None:
        super().__init__(f"crash {crash} of seed {seed}, {what}: {type(error).__name__}: {error}")
        self.seed = seed
        self.crash = crash


@contextmanager
def blaming(seed: int, crash: int, what: str) -> Iterator[None]:
    """Turn whatever a store does wrong in here into `BrokenByCrash`.

    Args:
        seed: of the campaign.
        crash: number of the crash.
        what: what happened to the store, in words.
    """
    try:
        yield
    except Exception as error:
        raise BrokenByCrash(seed, crash, what, error) from error


def chosen_seed(seed: int | None) -> int:
    """Return the seed, or a new one."""
    return SystemRandom().randrange(2**32) if seed is None else seed


def seeded(*parts: object) -> Random:
    """Return random numbers that depend on these alone."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - repeatable, not secret
