"""Errors: one rooted tree whose fields carry the facts."""

import inspect
import pickle

import pytest

from eskernel import errors
from eskernel.errors import (
    AggregateCrashed,
    CommandRejected,
    ConcurrencyConflict,
    CorruptStore,
    DispatchTimeout,
    EskernelError,
    KernelStopped,
    NotStorable,
    StoreUnavailable,
    UnknownAggregateType,
)

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_the_one_root(cls):
    assert issubclass(cls, EskernelError)
    assert issubclass(EskernelError, Exception)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_documented(cls):
    assert cls.__doc__


@pytest.mark.parametrize(
    ("error", "fields", "message"),
    [
        (
            CommandRejected("closed"),
            {"reason": "closed", "detail": None},
            "closed",
        ),
        (
            CommandRejected("funds", {"missing": 5}),
            {"reason": "funds", "detail": {"missing": 5}},
            "funds: {'missing': 5}",
        ),
        (
            UnknownAggregateType("bnak", ("order", "bank")),
            {"aggregate_type": "bnak", "known": ("order", "bank")},
            "'bnak' (registered: bank, order)",
        ),
        (UnknownAggregateType(None), {"aggregate_type": None, "known": ()}, "registered: none"),
        (
            AggregateCrashed("bug", ("a", "b"), 1.5),
            {"stream_id": ("a", "b"), "retry_after": 1.5},
            "bug",
        ),
        (AggregateCrashed("bug"), {"stream_id": None, "retry_after": None}, "bug"),
        (
            ConcurrencyConflict(("a", "b"), 3, 5),
            {"stream_id": ("a", "b"), "expected": 3, "actual": 5},
            "at sequence 5, not 3",
        ),
        (DispatchTimeout("late", started=True), {"started": True}, "late"),
        (StoreUnavailable("down"), {"outcome_unknown": False}, "down"),
        (StoreUnavailable("cut", outcome_unknown=True), {"outcome_unknown": True}, "cut"),
        (CorruptStore("bad", ("a", "b"), 4), {"stream_id": ("a", "b"), "sequence": 4}, "bad"),
        (CorruptStore("bad"), {"stream_id": None, "sequence": None}, "bad"),
        (KernelStopped("forked"), {"reason": "forked"}, "the kernel is not running: forked"),
        (NotStorable("payload.x", "no"), {"path": "payload.x"}, "payload.x: no"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_carries_its_facts(error, fields, message):
    assert {name: getattr(error, name) for name in fields} == fields
    assert message in str(error)


def test_the_unstorable_is_a_type_error_too():
    assert issubclass(NotStorable, TypeError)


@pytest.mark.parametrize(
    "error",
    [
        CommandRejected("funds", {"missing": 5}),
        UnknownAggregateType("bnak", ("order", "bank")),
        AggregateCrashed("bug", ("a", "b"), 1.5),
        ConcurrencyConflict(("a", "b"), 1, 2),
        DispatchTimeout("late", started=True),
        StoreUnavailable("gone", outcome_unknown=True),
        CorruptStore("bad", ("a", "b"), 3),
        KernelStopped("it was stopped"),
        NotStorable("payload['a']", "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_comes_back_from_a_pickle_as_it_was(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
