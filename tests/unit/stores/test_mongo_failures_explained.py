"""What the driver's errors mean: above all, whether a write may have happened."""

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from eskernel.errors import CorruptStore, NotStorable, StoreUnavailable
from eskernel_stores.mongo.failures import explained


def bulk(inserted=0, code=None, concern=None):
    return BulkWriteError(
        {
            "nInserted": inserted,
            "writeErrors": [] if code is None else [{"code": code, "errmsg": "refused"}],
            "writeConcernErrors": [] if concern is None else [{"code": concern, "errmsg": "late"}],
        }
    )


def not_primary(code):
    return NotPrimaryError("not primary", {"code": code})


def labelled(error):
    error._add_error_label("NoWritesPerformed")
    return error


@pytest.mark.parametrize(
    ("error", "sent", "unknown"),
    [
        # Nothing was sent, whatever happened.
        (ServerSelectionTimeoutError("no primary"), 0, False),
        (AutoReconnect("connection refused"), 0, False),
        # It was, and no answer came.
        (AutoReconnect("connection closed"), 1, True),
        (NetworkTimeout("timed out"), 1, True),
        # The server refused before it did anything.
        (not_primary(10107), 1, False),
        (not_primary(13435), 1, False),
        (OperationFailure("not authorized", 13), 1, False),
        (bulk(code=121), 1, False),
        # It was at work when it broke off, or others may not have what it did.
        (not_primary(189), 1, True),
        (not_primary(11602), 1, True),
        (OperationFailure("shutting down", 91), 1, True),
        (ExecutionTimeout("operation exceeded time limit", 50), 1, True),
        (WriteConcernError("not enough servers", 100), 1, True),
        (WTimeoutError("waiting for replication timed out", 64), 1, True),
        (bulk(inserted=1, concern=64), 1, True),
        (bulk(inserted=2, code=121), 1, True),
        (bulk(code=11602), 1, True),
        # The second try was refused, and the first may have succeeded.
        (not_primary(10107), 2, True),
        (OperationFailure("not authorized", 13), 2, True),
        # The server knows of both.
        (labelled(not_primary(10107)), 2, False),
        (labelled(OperationFailure("shutting down", 91)), 1, False),
    ],
)
def test_an_outcome_is_unknown_exactly_if_something_may_be_stored(error, sent, unknown):
    explanation = explained(error, sent, closed=False)
    assert isinstance(explanation, StoreUnavailable)
    assert explanation.outcome_unknown == unknown
    assert ("may be stored" in str(explanation)) == unknown
    assert ("nothing was stored" in str(explanation)) != unknown


def test_messages_say_what_happened_and_not_how_the_driver_is_set_up():
    long = (
        "127.0.0.1:1: connection refused (configured timeouts: timeoutMS: 5.0ms), Timeout: 5s, "
        "Topology Description: <TopologyDescription …>"
    )
    error = explained(ServerSelectionTimeoutError(long), 0, closed=False)
    assert str(error) == "MongoDB: 127.0.0.1:1: connection refused; nothing was stored"
    error = explained(bulk(code=121), 1, closed=False)
    assert str(error) == "MongoDB: refused; nothing was stored"
    error = explained(AutoReconnect(""), 1, closed=False)
    assert "AutoReconnect" in str(error)


@pytest.mark.parametrize("sent", [0, 1])
def test_what_fails_because_the_store_was_closed_says_so(sent):
    error = explained(AutoReconnect("connection pool closed"), sent, closed=True)
    assert str(error) == "the store is closed; open it again"
    assert error.outcome_unknown == bool(sent)


def test_what_cannot_be_read_is_damaged_and_what_is_too_large_cannot_be_stored():
    assert isinstance(explained(InvalidBSON("bad"), 0, closed=False), CorruptStore)
    assert isinstance(explained(DocumentTooLarge("17 MB"), 0, closed=False), NotStorable)
