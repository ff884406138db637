"""Life: whether an aggregate actor may still run."""

from __future__ import annotations


class Life:
    """Whether an actor may still run; shared by all that die together.

    An AggregateSupervisor gives all its children one, so that their number does not matter when it
    dies.

    Attributes:
        over: whether it has ended.
        reason: what killed it; None when it was asked to stop or passivated.
    """

    __slots__ = ("over", "reason")

    def __init__(self, *, over: bool = False, reason: BaseException | None = None) -> None:
        self.over = over
        self.reason = reason


PASSIVATED = Life(over=True)
