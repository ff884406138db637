"""Another program that keeps a lock keeps nobody waiting for ever."""

from contextlib import closing

import psycopg
from store_helpers import OTHER, STREAM, append, logged, unavailable

from eskernel_stores.sql import SqlStore


def test_a_lock_that_is_kept_too_long_makes_the_store_unavailable_for_that_long(postgresql_url):
    with closing(SqlStore(postgresql_url, timeout=0.3)) as store:
        append(store, STREAM, "before")
        with psycopg.connect(postgresql_url) as other:
            other.execute("SELECT * FROM eskernel_log FOR UPDATE")
            error = unavailable(append, store, OTHER, "lost")
            assert not error.outcome_unknown
            assert "locked" in str(error)
        append(store, STREAM, "after")
        assert logged(store) == ["before", "after"]
