"""JetStreamStore keeps every guarantee of snapshots, checkpoints and leases."""

import pytest

from eskernel.testing import checkpoint_store_checks, snapshot_store_checks
from eskernel_stores.jetstream import JetStreamStore

CHECKS = [*snapshot_store_checks(), *checkpoint_store_checks()]


@pytest.mark.parametrize("check", CHECKS)
def test_jetstream_keeps_its_guarantee(check, nats):
    urls = {}

    def reopened(store):
        store.close()
        return opened(urls[store])

    def opened(url):
        store = JetStreamStore(url)
        urls[store] = url
        return store

    try:
        assert check(lambda: opened(nats.new_url()), reopened)
    finally:
        nats.drop(*urls.values())
