"""ShardActors: finds, makes and ends the actors of a set of shards. All else is Ray's work."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from eskernel.errors import KernelStopped
from eskernel.ray.answers import DONE, ENDED, MOVING
from eskernel.ray.host import ShardHost

NAMESPACE: Final = "eskernel"
_THREADS: Final = 100
"""Of an actor: calls that may wait in it, each front's frame and poll."""
_ANSWER_WITHIN: Final = 10.0
"""Seconds for an actor to say where it is, or that it is drained, beyond what that takes."""
_LIFE: Final = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "get_if_exists": True,
    "max_concurrency": _THREADS,
    "max_restarts": -1,
    "max_task_retries": 0,
}


class ShardActors:
    """The actors of one name; each is detached, and has a name of its own.

    Args:
        name: of the set.
        shards: how many there are.
        terms: `Terms.packed`.
        placement: how Ray spreads them: the name of a scheduling strategy, or a strategy.
        options: of the actors, for Ray.
    """

    def __init__(
        self, name: str, shards: int, terms: bytes, placement: Any, options: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.shards = shards
        self.terms = terms
        self._placement = placement
        self._options = dict(options)
        self._class = ray.remote(ShardHost)

    def find(self, index: int) -> Any:
        """Return the handle of a shard's actor; raises ValueError if there is none."""
        return ray.get_actor(self._name_of(index), namespace=NAMESPACE)

    def any_is_there(self) -> bool:
        """Return whether there is any of these actors."""
        for index in range(self.shards):
            with suppress(ValueError):
                self.find(index)
                return True
        return False

    def make(self, index: int, node: str | None = None) -> Any:
        """Return the handle of a shard's actor, made if there is none.

        Args:
            index: which shard.
            node: id of the node that shall run a new one, as long as it lives; None to leave that
                to the placement.
        """
        placement = self._placement
        if node is not None:
            placement = NodeAffinitySchedulingStrategy(node, soft=True)
        options = {**self._options, **_LIFE, "scheduling_strategy": placement}
        actor = self._class.options(name=self._name_of(index), **options)
        return actor.remote(self.terms, index)

    def places(self) -> list[str | None]:
        """Return the id of the node each shard is on; None for one that does not answer."""
        asked = []
        for index in range(self.shards):
            try:
                asked.append(self.find(index).place.remote())
            except ValueError:
                asked.append(None)
        refs = [one for one in asked if one is not None]
        ready = set(
            ray.wait(refs, num_returns=len(refs), timeout=_ANSWER_WITHIN)[0] if refs else ()
        )
        return [_place(one) if one in ready else None for one in asked]

    def move(self, index: int, node: str, timeout: float) -> bool:
        """Have a shard run on another node; return whether that was done in time.

        The old actor is drained, and runs nothing any more, before the new one is made; and Ray
        has one actor of a name. So no aggregate is ever run by both.

        Raises:
            ray.exceptions.RayError: the actor has died meanwhile; Ray makes it anew.
        """
        actor = self.find(index)
        answer = ray.get(
            actor.drain.remote(MOVING, timeout, False), timeout=timeout + _ANSWER_WITHIN
        )
        if answer != DONE:
            return False
        ray.kill(actor)
        self.make(index, node)
        return True

    def end(self, timeout: float) -> bool:
        """Drain and end all actors; return whether what was under way ended in time."""
        draining = []
        for index in range(self.shards):
            with suppress(ValueError):  # there is none
                actor = self.find(index)
                draining.append((actor, actor.drain.remote(ENDED, timeout, True)))
        return all([_is_ended(*one, timeout) for one in draining])  # noqa: C419 - all of them

    def _name_of(self, index: int) -> str:
        return f"{self.name}/{index}"


def _is_ended(actor: Any, draining: Any, timeout: float) -> bool:
    """End an actor; return whether it was drained before."""
    try:
        drained: bool = ray.get(draining, timeout=timeout + _ANSWER_WITHIN) == DONE
    except ray.exceptions.RayError:
        drained = False
    ray.kill(actor)
    return drained


def _place(ref: Any) -> str | None:
    try:
        return bytes(ray.get(ref)).decode().partition(" ")[0]
    except ray.exceptions.RayError:
        return None


def count_shards(name: str) -> int:
    """Return how many shards run under a name; 0 if none do.

    Raises:
        KernelStopped: they do, and do not answer.
    """
    try:
        actor = ray.get_actor(f"{name}/0", namespace=NAMESPACE)
        return int(ray.get(actor.count.remote(), timeout=_ANSWER_WITHIN))
    except ValueError:
        return 0
    except ray.exceptions.RayError as error:
        raise KernelStopped(
            f"the shards {name!r} do not say how many they are ({error}); "
            "pass `shards`, or try again when Ray has restarted them"
        ) from error
