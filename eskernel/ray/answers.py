"""Answers: what a shard's actor says to a call, in its first byte.

All that travels between a front and an actor is bytes, which Ray passes on as they are: a frame of
requests one way; one of these and what belongs to it the other way.
"""

from __future__ import annotations

from typing import Final

DONE: Final = b"\0"
"""Done; a frame of replies may follow."""
MOVING: Final = b"\1"
"""Nothing was done, as the shard is about to be run elsewhere, if it can be: ask again."""
ENDED: Final = b"\2"
"""Nothing was done, as somebody has ended the shards."""
STRANGE: Final = b"\3"
"""Nothing was done, as this actor does not know the session: it is another life of the actor."""
FAILED: Final = b"\4"
"""The shard cannot be opened; a failure follows, see `eskernel.remote.failures`."""
BUSY: Final = b"\5"
"""The shard goes on: what it had under way did not end in time."""
MOVED: Final = b"\6"
"""Nothing was done, as the shard is run elsewhere from now on: ask for its actor."""
