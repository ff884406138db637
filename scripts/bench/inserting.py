"""64 callers on a store against its database's driver alone, with batches as large as ours.

A rival's batches have as many events as the kernel's had on average in the rounds so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from scripts.bench.accounts import running
from scripts.bench.callers import MORE, callers_load
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.streams import Batching
from scripts.bench.timing import Load, Rates, Say, rounds, scaled, take_turns
from scripts.bench.wrapped import Counting

Insert = Callable[[int, int], float]
"""Inserts a number of events in batches of a size; returns the seconds."""

_ROUNDS = 11


def compare_inserts(
    where: str, store: Batching, rivals: Mapping[str, Insert], commands: int, scale: float, say: Say
) -> list[Figure]:
    """Return the ratio to each rival; only the first has a target, the others inform.

    Args:
        where: the name of the database, for the figures.
        store: the store, empty.
        rivals: what to compare with, by what the figure's name is to say of it.
        commands: how many a round has.
        scale: as for every measure.
        say: takes a word on the progress.
    """
    count = scaled(commands, scale, MORE)
    latencies, counting = Latencies(), Counting(store)

    def load_of(insert: Insert) -> Load:
        return Load(count, lambda: insert(count, counting.average()))

    with running(store=counting) as kernel:
        counting.forget()
        loads = {"": callers_load(kernel, MORE, count, latencies=latencies)}
        loads |= {name: load_of(insert) for name, insert in rivals.items()}
        rates = take_turns(rounds(_ROUNDS, scale), loads, say)
    ours, size = rates.pop(""), counting.average()

    def figure_of(rival: str, at_least: float | None) -> Figure:
        name = f"{where}, {MORE} callers, against {rival} in batches as large"
        figure = Rates(ours, rates[rival]).figure(name, at_least)
        shown = f"{figure.shown} in batches of {size}"
        details = {**figure.details, "size": size}
        return latencies.beside(replace(figure, shown=shown, details=details))

    return [figure_of(rival, None if number else 0.4) for number, rival in enumerate(rivals)]
