"""The rivals that need a server do what their figures say."""

from __future__ import annotations

from contextlib import closing

from eskernel_stores import open_store
from scripts.bench.rivals.raw_nats import RawPublishes
from scripts.bench.rivals.raw_pymongo import RawDocuments, RawFind
from scripts.bench.streams import fill


def test_raw_publishes_are_all_in_the_stream_and_as_long_as_ours(nats):
    url = nats.new_url()
    with closing(open_store(url)) as store, closing(RawPublishes(url)) as raw:
        fill(store, "acc-1", 1, 1)
        payload = raw.payload()
        assert 50 < len(payload) < 500
        raw.publish(payload, 200)
        assert raw.count() == 200


def test_raw_documents_are_all_there_with_an_index_and_without(mongo):
    for indexed in (True, False):
        with closing(RawDocuments(mongo.new_url(), indexed=indexed)) as raw:
            assert raw.insert(250, 64) > 0
            assert raw.insert(50, 64) > 0
            assert raw.count() == 300


def test_a_raw_find_reads_the_documents_of_a_stream(mongo):
    url = mongo.new_url()
    with closing(open_store(url)) as store, closing(RawFind(url)) as raw:
        fill(store, "one", 20, 1)
        fill(store, "other", 20, 10)
        assert raw.find("one") == 20
        assert raw.find("other") == 2
