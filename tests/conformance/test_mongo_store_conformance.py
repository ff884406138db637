"""MongoStore keeps every guarantee."""

import pytest

from eskernel.testing import checkpoint_store_checks, event_store_checks, snapshot_store_checks
from eskernel_stores.mongo import MongoStore

CHECKS = [*event_store_checks(), *snapshot_store_checks(), *checkpoint_store_checks()]


class Reopening:
    """Opens new stores and, of each, others of the same data."""

    def __init__(self, new_url):
        self._new_url = new_url
        self._urls = {}

    def __call__(self):
        return self._open(self._new_url())

    def again(self, store):
        store.close()
        return self._open(self._urls[store])

    def _open(self, url):
        store = MongoStore(url)
        self._urls[store] = url
        return store


@pytest.mark.parametrize("check", CHECKS)
def test_mongo_keeps_its_guarantee(check, mongo):
    opening = Reopening(mongo.new_url)
    assert check(opening, opening.again) or check.needs == "immediate"
