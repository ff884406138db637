"""JetStreamStore keeps every guarantee, in a cluster of three nodes."""

import pytest
from reopening import Reopening

from eskernel.testing import checkpoint_store_checks, event_store_checks, snapshot_store_checks
from eskernel_stores.jetstream import JetStreamStore

CHECKS = [*event_store_checks(), *snapshot_store_checks(), *checkpoint_store_checks()]


@pytest.fixture
def opening(nats):
    opening = Reopening(JetStreamStore, nats.new_url)
    yield opening
    nats.drop(*{*opening.urls.values()})


@pytest.mark.parametrize("check", CHECKS)
def test_jetstream_keeps_its_guarantee(check, opening):
    assert check(opening, opening.again) or check.needs == "immediate"
