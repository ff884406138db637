"""64 callers on a MongoStore against what the server allows: `insert_many` by pymongo alone.

The rival's collection has documents of the same form and the same unique index of stream and
sequence, and its batches are ordered and acknowledged by a majority's journals, too; see
`scripts.bench.inserting`. Against a collection without that index the figure only informs.
"""

from __future__ import annotations

from contextlib import closing

from eskernel_stores import open_store
from scripts.bench.figure import Figure
from scripts.bench.inserting import compare_inserts
from scripts.bench.places import mongo
from scripts.bench.rivals.raw_pymongo import RawDocuments
from scripts.bench.timing import Say

_COMMANDS = 2_400


def measure(scale: float, say: Say) -> list[Figure]:
    """Return both ratios."""
    say("starting")
    with (
        mongo() as server,
        closing(open_store(server.new_url())) as store,
        closing(RawDocuments(server.new_url())) as indexed,
        closing(RawDocuments(server.new_url(), indexed=False)) as bare,
    ):
        rivals = {"raw inserts": indexed.insert, "raw inserts without an index": bare.insert}
        return compare_inserts("MongoDB", store, rivals, _COMMANDS, scale, say)
