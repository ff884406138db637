"""The README's table of stores is true: every cell is looked up, and what it says is tried."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from backend_trials import TRIALS
from backends import BACKENDS
from test_readme import table_under
from tried_backend import Backend

COLUMNS = ("store", "needs", "shared by", "survives", "others' appends", "tables", "choose it for")
SCHEMES = {"memory": "memory", "file": "file", "sqlite": "sqlite", "postgresql": "postgresql"} | {
    "nats": "jetstream",
    "mongodb": "mongo",
}
ROWS = {SCHEMES[row[0].strip("`").split(":")[0]]: row[1:] for row in table_under("Choose a store")}
CELLS = [
    pytest.param(kind, column, cell, id=f"{kind}-{column}")
    for kind, row in ROWS.items()
    for column, cell in zip(COLUMNS, row, strict=True)
]


@pytest.fixture
def make_backend(tmp_path: Path, request: Any) -> Iterator[Callable[[str], Backend]]:
    with ExitStack() as stores:
        folders = (tmp_path / str(number) for number in itertools.count())

        def make(kind: str) -> Backend:
            folder = next(folders)
            folder.mkdir()
            return Backend(kind, folder, request, stores)

        yield make


@pytest.mark.parametrize(("kind", "column", "cell"), CELLS)
def test_a_cell_of_the_table_of_stores_is_true(
    make_backend: Callable[[str], Backend], monkeypatch: Any, kind: str, column: str, cell: str
) -> None:
    if column == "store":
        assert f"`{type(make_backend(kind).store).__name__}`" == cell
        return
    trials = TRIALS[column]
    for phrase in [cell] if cell in trials else cell.split(", "):
        assert phrase in trials, f"nothing here tries what the table says: {phrase}"
        with monkeypatch.context() as patching:
            trials[phrase](make_backend(kind), patching)


def test_the_table_of_stores_has_every_backend() -> None:
    assert tuple(ROWS) == BACKENDS
