"""The bench runs: every measure whose libraries the tests have, at a thousandth of its size."""

from __future__ import annotations

import gc

import pytest

from scripts.bench.apart import MeasureFailed, run_apart
from scripts.bench.figure import Figure
from scripts.bench.markdown import markdown_of
from scripts.bench.measures import MEASURES, NEED_MORE_THAN_THE_TESTS, load_measure
from scripts.bench.timing import quantile

WITHIN_REACH = [name for name in MEASURES if name not in NEED_MORE_THAN_THE_TESTS]


@pytest.fixture(autouse=True)
def _no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have measures not collect the garbage of all tests before them, which takes minutes."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.mark.parametrize("name", WITHIN_REACH)
def test_a_measure_returns_figures_and_tells_of_its_progress(name: str) -> None:
    said: list[str] = []
    figures = load_measure(name)(0.001, said.append)
    assert figures
    assert all(isinstance(figure, Figure) and figure.shown for figure in figures)
    assert said


def test_a_measure_runs_in_a_process_of_its_own() -> None:
    said: list[str] = []
    (figure,) = run_apart("latency", 0.001, said.append)
    assert figure.unit == "µs"
    assert said


def test_a_process_that_fails_is_told_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MeasureFailed, match="no_such_measure"):
        run_apart("no_such_measure", 0.001, print)
    assert "ModuleNotFoundError" in capfd.readouterr().err


def test_only_shapes_and_what_meets_eventsourcing_need_more_libraries() -> None:
    in_memory, on_postgresql = "eventsourcing_app", "postgresql_callers"
    on_sqlite = {"sqlite_callers", "sqlite_rehydration", "catch_up"}
    assert set(NEED_MORE_THAN_THE_TESTS) == {in_memory, *on_sqlite, on_postgresql, "creation"}
    assert set(NEED_MORE_THAN_THE_TESTS) < set(MEASURES)


def test_a_figure_on_its_target_meets_it() -> None:
    assert Figure("rate", 8.0, "ratio", "8", at_least=8).met is True
    assert Figure("rate", 7.9, "ratio", "7.9", at_least=8).met is False
    assert Figure("delay", 20.0, "ms", "20 ms", at_most=20).met is True
    assert Figure("delay", 20.1, "ms", "20.1 ms", at_most=20).met is False


def test_a_figure_without_a_target_neither_meets_nor_misses_it() -> None:
    assert Figure("rate", 1.0, "/s", "1/s").met is None


def test_a_quantile_is_one_of_the_numbers() -> None:
    numbers = [float(number) for number in range(100, 0, -1)]
    assert quantile(numbers, 0.5) == 51.0
    assert quantile(numbers, 0.99) == 100.0
    assert quantile([7.0], 0.99) == 7.0


def test_figures_with_a_cell_make_a_table() -> None:
    quantiles, events = {"p50": 0.0044, "p99": 120.4}, {"events": 10_000}
    figures = [
        Figure("a", 1.0, "/s", "one", details=quantiles, cell=("first", "16 callers")),
        Figure("b", 2.0, "/s", "two"),
        Figure("c", 3456.0, "/s", "three", details=events, cell=("first", "catch-up")),
        Figure("d", 4.0, "/s", "four", cell=("second", "catch-up")),
    ]
    assert markdown_of(figures).splitlines() == [
        "| store | 16 callers | catch-up |",
        "| --- | --- | --- |",
        "| first | 1/s; 0.0044, 120 ms | 3,460/s of 10,000 |",
        "| second |  | 4/s |",
    ]
    assert markdown_of(figures[1:2]) == ""
