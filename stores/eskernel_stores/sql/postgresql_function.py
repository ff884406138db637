"""The function with which PostgreSQL appends: one statement that locks, checks, stores and commits.

Its name and parameters are part of stored data: a change here is a new version in `schema`.
"""

from __future__ import annotations

from typing import Final

FUNCTION: Final = """
CREATE OR REPLACE FUNCTION eskernel_append(
    streams json, rows json, bytes bytea, OUT before bigint, OUT heads bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    stored bigint;
BEGIN
    SELECT log.position INTO STRICT before FROM eskernel_log AS log FOR UPDATE;
    -- A statement of its own, so that it sees what was committed while this one waited.
    SELECT array_agg(coalesce((
            SELECT event.sequence FROM eskernel_events AS event
            WHERE event.aggregate_type = stream.aggregate_type
                AND event.aggregate_id = stream.aggregate_id
            ORDER BY event.sequence DESC LIMIT 1
        ), 0) ORDER BY stream.number) INTO heads
    FROM ROWS FROM (json_to_recordset(streams) AS (aggregate_type text, aggregate_id text))
        WITH ORDINALITY AS stream(aggregate_type, aggregate_id, number);
    INSERT INTO eskernel_events (
        position, aggregate_type, aggregate_id, sequence, type, payload, metadata, tags,
        timestamp, command_id, append_id
    )
    SELECT before + row_number() OVER (ORDER BY new.number), stream.aggregate_type,
        stream.aggregate_id, new.sequence, new.type,
        substring(bytes FROM new.start FOR new.payload),
        substring(bytes FROM new.start + new.payload FOR new.metadata),
        new.tags, new.timestamp, new.command_id,
        substring(bytes FROM new.start + new.payload + new.metadata FOR 16)
    FROM ROWS FROM (json_to_recordset(rows) AS (
            stream integer, sequence bigint, type text, tags text, timestamp bigint,
            command_id text, start integer, payload integer, metadata integer
        )) WITH ORDINALITY AS new(
            stream, sequence, type, tags, timestamp, command_id, start, payload, metadata, number
        )
    JOIN ROWS FROM (json_to_recordset(streams) AS (
            aggregate_type text, aggregate_id text, expected bigint
        )) WITH ORDINALITY AS stream(aggregate_type, aggregate_id, expected, number)
        ON stream.number = new.stream
    WHERE heads[new.stream] = stream.expected;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored > 0 THEN
        UPDATE eskernel_log AS log SET position = before + stored;
    END IF;
END $$
"""
