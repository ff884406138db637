"""SqlStore keeps every guarantee, in SQLite and in PostgreSQL."""

import pytest
from reopening import Reopening

from eskernel.testing import (
    checkpoint_store_checks,
    event_store_checks,
    fencing_store_checks,
    snapshot_store_checks,
)
from eskernel_stores.sql import SqlStore

CHECKS = [
    *event_store_checks(),
    *fencing_store_checks(),
    *snapshot_store_checks(),
    *checkpoint_store_checks(),
]


@pytest.mark.parametrize("check", CHECKS)
def test_sqlite_keeps_its_guarantee(check, tmp_path):
    opening = Reopening(SqlStore, lambda: f"sqlite:///{tmp_path / 'events.db'}")
    assert check(opening, opening.again) or check.needs == "immediate"


@pytest.mark.parametrize("check", CHECKS)
def test_postgresql_keeps_its_guarantee(check, postgresql):
    opening = Reopening(SqlStore, postgresql.new_schema)
    assert check(opening, opening.again) or check.needs == "immediate"
