"""JetStreamStore keeps every guarantee of an event store, in a cluster of three nodes."""

import pytest

from eskernel.testing import event_store_checks
from eskernel_stores.jetstream import JetStreamStore


class Reopening:
    """Opens new stores and, of each, others of the same data."""

    def __init__(self, nats):
        self._nats = nats
        self._urls = {}

    def __call__(self):
        return self._open(self._nats.new_url())

    def again(self, store):
        store.close()
        return self._open(self._urls[store])

    def _open(self, url):
        store = JetStreamStore(url)
        self._urls[store] = url
        return store

    def drop(self):
        self._nats.drop(*{*self._urls.values()})


@pytest.mark.parametrize("check", event_store_checks())
def test_jetstream_keeps_its_guarantee(check, nats):
    opening = Reopening(nats)
    assert check(opening, opening.again) or check.needs == "immediate"
    opening.drop()
