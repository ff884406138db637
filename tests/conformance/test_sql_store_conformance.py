"""SqlStore keeps every guarantee, in SQLite and in PostgreSQL."""

import pytest

from eskernel.testing import checkpoint_store_checks, event_store_checks, snapshot_store_checks
from eskernel_stores.sql import SqlStore

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
        store = SqlStore(url)
        self._urls[store] = url
        return store


@pytest.mark.parametrize("check", CHECKS)
def test_sqlite_keeps_its_guarantee(check, tmp_path):
    opening = Reopening(lambda: f"sqlite:///{tmp_path / 'events.db'}")
    assert check(opening, opening.again) or check.needs == "immediate"


@pytest.mark.parametrize("check", CHECKS)
def test_postgresql_keeps_its_guarantee(check, postgresql):
    opening = Reopening(postgresql.new_schema)
    assert check(opening, opening.again) or check.needs == "immediate"
