"""64 callers on a FileStore against lines appended and synced one by one.

The rival's lines have as many bytes as ours have on average.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

from eskernel_stores.file import FileStore
from scripts.bench.accounts import LIVE, running
from scripts.bench.callers import MORE, callers_load
from scripts.bench.figure import Figure
from scripts.bench.latencies import Latencies
from scripts.bench.places import folder
from scripts.bench.rivals.raw_file import RawLines
from scripts.bench.timing import Load, Say, alternate, rounds, scaled

_COMMANDS, _ALONE, _ROUNDS = 4_800, 400, 21


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    count, alone = scaled(_COMMANDS, scale, MORE), scaled(_ALONE, scale)
    latencies = Latencies()
    with (
        folder() as place,
        closing(FileStore(place / "ours")) as store,
        closing(RawLines(place / "theirs")) as raw,
        running(store=store) as kernel,
    ):
        line = _line_as_long(place / "ours", LIVE)
        ours = callers_load(kernel, MORE, count, latencies=latencies)
        theirs = Load(alone, partial(raw.append, line, alone))
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
    name = f"FileStore, {MORE} callers, against append and fdatasync one by one"
    return [latencies.beside(rates.figure(name, at_least=2))]


def _line_as_long(store: Path, events: int) -> bytes:
    """Return a line as long as those of so many events that are all a store holds."""
    size = sum(path.stat().st_size for path in store.glob("log-*"))
    return b"x" * (size // events - 1) + b"\n"
