"""dispatch with events that are dataclasses: orders from place to ship; for information."""

from __future__ import annotations

from decimal import Decimal
from statistics import median
from time import perf_counter

from domains import order
from eskernel import Command, Kernel
from eskernel_stores import MemoryStore
from scripts.bench.figure import Figure, a_second
from scripts.bench.timing import Say, scaled

_RUNS = 5
_LIFE = (
    ("place", {"customer": "ada"}),
    ("add_line", {"sku": "tea", "quantity": 2, "price": Decimal("3.50")}),
    ("add_line", {"sku": "cup", "quantity": 1, "price": Decimal("5.00")}),
    ("pay", {"amount": Decimal("12.00")}),
    ("ship", None),
)


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the commands a second."""
    count = scaled(2_000, scale)
    with Kernel({"order": order}, MemoryStore(), passivation_timeout=3600) as kernel:
        rates = []
        for number in range(_RUNS):
            say(f"run {number + 1} of {_RUNS}")
            rates.append(_rate(kernel, [f"order-{number}-{index}" for index in range(count)]))
    rate = median(rates)
    return [Figure("dispatch, whole lives of new orders", rate, "/s", a_second(rate))]


def _rate(kernel: Kernel, names: list[str]) -> float:
    start = perf_counter()
    for name in names:
        for kind, payload in _LIFE:
            kernel.dispatch(Command("order", name, kind, payload))
    return len(names) * len(_LIFE) / (perf_counter() - start)
