"""What becomes of appends that fail, and of those to a store without `append_batch`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, TypeVar

from eskernel.contracts import Commit, EventStore
from eskernel.errors import EskernelError, StoreUnavailable

E = TypeVar("E", bound=Exception)
Outcome = int | Exception
"""An append's position, or why it failed."""


class ChainBroken(EskernelError):
    """An append was not sent because the one it was decided upon failed."""


def own(error: E) -> E:
    """Return a copy for one caller: whoever raises an error adds to its traceback."""
    own = copy(error)
    own.__cause__ = error.__cause__
    return own


def failure(error: Exception) -> Exception:
    """Return the error to give callers for what a store has raised."""
    if isinstance(error, EskernelError):
        return error
    return StoreUnavailable.because(error, outcome_unknown=True)


def one_by_one(store: EventStore) -> Callable[[Sequence[Commit]], list[Outcome]]:
    """Return an append_batch for a store without one."""
    parameters = inspect.signature(store.append).parameters.values()
    with_id = any(one.name == "append_id" or one.kind is one.VAR_KEYWORD for one in parameters)

    def append_batch(commits: Sequence[Commit]) -> list[Outcome]:
        failed: dict[Any, Exception] = {}
        return [append(commit, failed) for commit in commits]

    def append(commit: Commit, failed: dict[Any, Exception]) -> Outcome:
        stream_id, events, expected, append_id = commit
        if stream_id in failed:
            return ChainBroken("the append before this one failed")
        options = {"append_id": append_id} if with_id else {}
        try:
            return store.append(stream_id, events, expected_sequence=expected, **options)
        except Exception as error:  # noqa: BLE001 - one append never fails its neighbours
            failed[stream_id] = failure(error)
            return failed[stream_id]

    return append_batch
