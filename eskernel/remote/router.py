"""Router: from a command to its shard, or to what speaks against sending it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eskernel.actors.aggregate.bound_domain import BoundDomain
from eskernel.actors.aggregate.deciding import check_command, is_plain
from eskernel.errors import InvalidCommand, UnknownAggregateType
from eskernel.values import Command, StreamId, check_identifier, shard_of

_KNOWN: Final = 100_000
"""Streams whose shards are remembered; with one more all are forgotten."""


class Router:
    """Checks commands and numbers their shards; threads share it.

    Args:
        domains: by aggregate type.
        shards: how many there are.
    """

    def __init__(self, domains: Mapping[str, BoundDomain], shards: int) -> None:
        self._domains = domains
        self._shards = shards
        # So that names are checked and hashed once. Each access is one step of the dictionary, and
        # what another thread forgets is only found out again.
        self._known: dict[StreamId, int] = {}

    def route(self, command: Any) -> int:
        """Return the number of a command's shard.

        Raises:
            InvalidCommand, UnknownAggregateType: it is none that a kernel would take.
        """
        if not isinstance(command, Command):
            raise InvalidCommand(
                f"the kernel takes a Command, not {type(command).__name__}; "
                "make one: Command(aggregate_type, aggregate_id, type, payload)"
            )
        try:
            shard = self._known.get(command[:2])
        except TypeError:  # unhashable, so not strings
            shard = None
        if shard is None:
            shard = self.shard_of(*command[:2])
        if not is_plain(command):
            problem = check_command(command, self._domains[command[0]])
            if problem is not None:
                raise problem
        return shard

    def shard_of(self, aggregate_type: Any, aggregate_id: Any) -> int:
        """Return the number of an aggregate's shard; checks its names, and raises as `route`."""
        if not isinstance(aggregate_type, str) or aggregate_type not in self._domains:
            raise UnknownAggregateType(aggregate_type, tuple(self._domains))
        stream_id = (aggregate_type, check_identifier("aggregate_id", aggregate_id))
        if len(self._known) >= _KNOWN:
            self._known.clear()
        shard = self._known[stream_id] = shard_of(stream_id, self._shards)
        return shard
