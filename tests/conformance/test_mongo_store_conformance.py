"""MongoStore keeps every guarantee."""

import pytest
from reopening import Reopening

from eskernel.testing import (
    checkpoint_store_checks,
    event_store_checks,
    fencing_store_checks,
    snapshot_store_checks,
)
from eskernel_stores.mongo import MongoStore

CHECKS = [
    *event_store_checks(),
    *fencing_store_checks(),
    *snapshot_store_checks(),
    *checkpoint_store_checks(),
]


@pytest.mark.parametrize("check", CHECKS)
def test_mongo_keeps_its_guarantee(check, mongo):
    opening = Reopening(MongoStore, mongo.new_url)
    assert check(opening, opening.again) or check.needs == "immediate"
