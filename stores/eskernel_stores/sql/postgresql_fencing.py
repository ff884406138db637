"""Fencing in PostgreSQL: appends that depend on leases, and how leases change hands.

**No moment between the check and the write.** An append that depends on leases locks the log's row,
as every append does, and only then, in a statement of its own, reads their epochs; it keeps the row
locked until its commit. Whoever gets a lease under a new epoch locks the same row before the epoch
changes, and keeps it until that is committed. So either the append is committed, and seen by
everybody, before the lease changes hands, or it reads the new epoch.

Locks of the leases' own rows would do as well, and leave appends under other names alone. But each
append would write to the rows of its leases, and wait for whoever saves checkpoints under that
name, while a lease changes hands seldom and for a moment.

A trigger takes the lock, so whatever changes an epoch does, processes of an older eskernel too.
Renewals and releases need no lock, for they change none. Nor do saves of checkpoints under
a larger epoch, which may be part of a long transaction: an append that is under way then is seen by
whoever gets the lease, if not by who saved.

**Nobody waits in a circle.** Leases' rows are locked in the order of their names, and before the
log's row; appends lock no leases. A lease changes hands in one statement, which begins and commits
on the server: a client that is paused in the middle keeps nobody waiting.

Names and parameters are part of stored data, as in `postgresql_function`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from eskernel.errors import StoreUnavailable
from eskernel.values import Lease

_APPEND: Final = """
CREATE OR REPLACE FUNCTION eskernel_append_fenced(
    fences json, streams json, rows json, bytes bytea,
    OUT before bigint, OUT heads bigint[], OUT newest bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    checked json := streams;
    has_stale boolean;
BEGIN
    PERFORM 1 FROM eskernel_log FOR UPDATE;
    -- A statement of its own, so that it sees what was committed while this one waited.
    SELECT array_agg(coalesce(lease.epoch, 0) ORDER BY fence.number),
        bool_or(coalesce(lease.epoch, 0) <> fence.epoch) INTO newest, has_stale
    FROM ROWS FROM (json_to_recordset(fences) AS (name text, epoch bigint))
        WITH ORDINALITY AS fence(name, epoch, number)
    LEFT JOIN eskernel_leases AS lease ON lease.name = fence.name;
    IF has_stale THEN  -- no stream is at -1
        SELECT json_agg(json_build_object(
            'aggregate_type', stream.aggregate_type, 'aggregate_id', stream.aggregate_id,
            'expected', CASE WHEN newest[stream.fence] <> stream.epoch THEN -1
                ELSE stream.expected END
        ) ORDER BY stream.number) INTO checked
        FROM ROWS FROM (json_to_recordset(streams) AS (
                aggregate_type text, aggregate_id text, expected bigint, fence integer, epoch bigint
            )) WITH ORDINALITY
            AS stream(aggregate_type, aggregate_id, expected, fence, epoch, number);
    END IF;
    SELECT appended.before, appended.heads INTO before, heads
    FROM eskernel_append(checked, rows, bytes) AS appended;
END $$
"""

_ACQUIRE: Final = """
CREATE OR REPLACE FUNCTION eskernel_acquire_leases(
    names text[], asker text, seconds double precision,
    OUT owners text[], OUT epochs bigint[], OUT valid double precision[]
) LANGUAGE plpgsql AS $$
DECLARE
    begun double precision;
BEGIN
    INSERT INTO eskernel_leases (name, epoch, expires)
    SELECT asked.name, 0, 0 FROM unnest(names) AS asked(name)
    WHERE NOT EXISTS (SELECT 1 FROM eskernel_leases AS lease WHERE lease.name = asked.name)
    ORDER BY asked.name COLLATE "C"
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM eskernel_leases AS lease WHERE lease.name = ANY (names)
    ORDER BY lease.name FOR UPDATE;
    begun := extract(epoch FROM clock_timestamp());  -- after the waiting
    UPDATE eskernel_leases AS lease
    SET owner = asker, expires = begun + seconds,
        epoch = CASE WHEN lease.owner = asker THEN lease.epoch ELSE lease.epoch + 1 END
    WHERE lease.name = ANY (names)
        AND (lease.owner IS NULL OR lease.owner = asker OR lease.expires <= begun);
    SELECT array_agg(lease.owner ORDER BY asked.number),
        array_agg(lease.epoch ORDER BY asked.number),
        array_agg(greatest(lease.expires - extract(epoch FROM clock_timestamp()), 0)
            ORDER BY asked.number) INTO owners, epochs, valid
    FROM unnest(names) WITH ORDINALITY AS asked(name, number)
    JOIN eskernel_leases AS lease ON lease.name = asked.name;
END $$
"""

_LOCK: Final = """
CREATE OR REPLACE FUNCTION eskernel_lock_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM eskernel_log FOR UPDATE;
    RETURN NEW;
END $$
"""

_TRIGGER: Final = """
CREATE TRIGGER eskernel_takeover BEFORE UPDATE ON eskernel_leases FOR EACH ROW
WHEN (NEW.epoch <> OLD.epoch AND NEW.owner IS NOT NULL) EXECUTE FUNCTION eskernel_lock_log()
"""

FENCING: Final = (_APPEND, _ACQUIRE, _LOCK, _TRIGGER)
"""Statements that create what fencing needs."""

_CALL: Final = (
    "SELECT unnest(owners), unnest(epochs), unnest(valid) "
    "FROM eskernel_acquire_leases(%s::text[], %s, %s)"
)


def acquire(
    connection: Connection, names: Sequence[str], owner: str, seconds: float
) -> list[Lease]:
    """Take or renew leases, by the rules of `eskernel_stores.leases.Held` and the server's clock.

    Args:
        connection: on which every statement is a transaction.
        names: each once.
        owner: who asks.
        seconds: how long they shall be valid.

    Raises:
        DBAPIError: it failed, and nothing was changed.
        StoreUnavailable: it may be done; `outcome_unknown` is True.
    """
    try:
        found = connection.exec_driver_sql(_CALL, ([*names], owner, float(seconds)))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable.because(error, outcome_unknown=True) from error
        raise
    return [Lease(*row) for row in found]
