import pytest
import structlog

from eskernel.actors.journal import log_and_go_on, log_safely


class Unspeakable(Exception):
    def __repr__(self):
        raise ZeroDivisionError("no word for it")


def test_exceptions_are_shown_by_their_repr_but_for_tracebacks():
    error = ValueError("no")
    with structlog.testing.capture_logs() as logs:
        log_safely("warning", "it_happened", reason=error, exc_info=error, number=1)
    assert logs == [
        {
            "event": "it_happened",
            "log_level": "warning",
            "reason": "ValueError('no')",
            "exc_info": error,
            "number": 1,
        }
    ]


@pytest.mark.parametrize("log", [log_safely, log_and_go_on])
def test_a_fact_that_cannot_be_shown_costs_only_the_entry(log):
    with structlog.testing.capture_logs() as logs:
        log("error", "it_happened", reason=Unspeakable())
    assert logs == []


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_logging_raises_never_stops_who_must_go_on(error, monkeypatch):
    def raise_(*_):
        raise error

    monkeypatch.setattr("eskernel.actors.journal.log", structlog.wrap_logger(None, [raise_]))
    log_and_go_on("error", "it_happened")
    if error is ZeroDivisionError:
        log_safely("error", "it_happened")
    else:
        with pytest.raises(error):
            log_safely("error", "it_happened")
