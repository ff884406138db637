"""Writers killed, power cut, bits flipped, the server killed: nothing acknowledged is lost.

`scripts/crash.py` does the same for longer.
"""

from __future__ import annotations

import shutil
import time

import pytest
from crash_stores import small_segments, sqlite_in
from mongo_helpers import HASTE, hasty_mongo
from nats_outages import outage_of
from support import new_seed

from eskernel.testing import (
    check_bit_flips,
    check_crashes,
    check_outages,
    check_power_cuts,
    check_truncations,
)
from eskernel_stores.file import FileStore
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.mongo import MongoStore
from eskernel_stores.sql import SqlStore

pytestmark = pytest.mark.stress

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="recording what SQLite writes needs a C compiler"
)


@pytest.mark.parametrize("open_store", [FileStore, small_segments, sqlite_in])
def test_a_store_of_files_survives_killed_writers(open_store, tmp_path):
    done = check_crashes(open_store, str(tmp_path), kills=10, seed=new_seed())
    assert done.crashes == 10
    assert done.acknowledged > 10


def test_postgresql_survives_killed_writers(postgresql):
    done = check_crashes(
        SqlStore,
        postgresql.new_schema(),
        kills=6,
        seed=new_seed(),
        after_kill=postgresql.wait_for_quiet,
    )
    assert done.acknowledged > 6


@pytest.mark.parametrize("open_store", [FileStore, small_segments])
def test_a_file_store_survives_power_cuts(open_store):
    done = check_power_cuts(open_store, "{folder}", cuts=40, seed=new_seed())
    assert done.crashes == 40
    assert done.acknowledged > 10


@needs_compiler
@pytest.mark.parametrize("open_store", [small_segments, sqlite_in])
def test_a_store_survives_power_cuts_seen_from_below_python(open_store):
    done = check_power_cuts(open_store, "{folder}", cuts=30, seed=new_seed(), recorder="library")
    assert done.acknowledged > 10


@needs_compiler
def test_sqlite_that_does_not_wait_for_the_disk_is_caught():
    with pytest.raises(AssertionError, match="acknowledged appends are lost"):
        check_power_cuts(
            sqlite_in, "{folder}", "NORMAL", cuts=60, seed=new_seed(), recorder="library"
        )


def test_a_file_store_cut_short_holds_the_first_appends_whole():
    check_truncations(FileStore, "{folder}", file="log-*", truncations=60, seed=new_seed())


@pytest.mark.parametrize("open_store", [FileStore, small_segments])
def test_a_file_store_notices_flipped_bits(open_store):
    done = check_bit_flips(open_store, "{folder}", flips=80, seed=new_seed())
    assert done.noticed


@pytest.mark.parametrize("how", ["kill", "restart", "terminate_connections"])
def test_postgresql_is_used_again_after_an_outage(postgresql_to_kill, how):
    server = postgresql_to_kill

    def kill():
        server.kill()
        time.sleep(0.02)  # for calls that meet no server at all
        server.start()

    done = check_outages(
        SqlStore,
        server.new_schema(),
        outage=kill if how == "kill" else getattr(server, how),
        outages=3,
        seed=new_seed(),
        after_kill=server.wait_for_quiet,
    )
    assert done.crashes == 3


def test_jetstream_survives_killed_writers(nats_to_kill, nats_url):
    done = check_crashes(
        JetStreamStore,
        nats_url,
        kills=6,
        seed=new_seed(),
        after_kill=nats_to_kill.wait_for_quiet,
    )
    assert done.acknowledged > 6


@pytest.mark.parametrize("way", ["killed leader", "all killed"])
def test_jetstream_is_used_again_after_an_outage(nats_to_kill, nats_url, way):
    done = check_outages(
        JetStreamStore,
        nats_url,
        outage=outage_of(nats_to_kill, nats_url, way),
        outages=2,
        per_writer=2,
        seed=new_seed(),
        after_kill=nats_to_kill.wait_for_quiet,
    )
    assert done.crashes == 2


def test_mongo_survives_killed_writers(mongo, mongo_url):
    done = check_crashes(
        MongoStore, mongo_url, kills=6, seed=new_seed(), after_kill=mongo.wait_for_quiet
    )
    assert done.acknowledged > 6


@pytest.mark.parametrize(("open_store", "away"), [(MongoStore, 0), (hasty_mongo, 2 * HASTE)])
def test_mongo_is_used_again_after_an_outage(mongo_to_kill, mongo_url, open_store, away):
    def kill():
        mongo_to_kill.kill()
        time.sleep(away)  # for calls that meet no server at all
        mongo_to_kill.start()

    done = check_outages(
        open_store,
        mongo_url,
        outage=kill,
        outages=2,
        seed=new_seed(),
        after_kill=mongo_to_kill.wait_for_quiet,
    )
    assert done.crashes == 2
    assert done.unavailable or not away
