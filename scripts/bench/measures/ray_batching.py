"""RayKernel, which sends commands in batches, against plain Ray actors, a call a command.

64 callers that block, accounts in memory, on a Ray of this machine; as many shards as plain actors.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from scripts.bench.accounts import DOMAINS, HOUR, LIVE, fund, steps
from scripts.bench.callers import MORE, callers_load, threads_load
from scripts.bench.figure import RATIO, Figure
from scripts.bench.places import local_ray
from scripts.bench.timing import Say, alternate, rounds, scaled

_SHARDS, _COMMANDS, _ROUNDS = 2, 6_400, 9
_NAME = f"RayKernel, {_SHARDS} shards, against a Ray actor call a command, {MORE} callers"


def measure(scale: float, say: Say) -> list[Figure]:
    """Return the ratio."""
    if find_spec("ray") is None:
        return [Figure(_NAME, 0.0, RATIO, "not measured, as ray is not installed")]
    # Imported here: what needs ray, which has no wheel for every Python.
    from eskernel.ray import RayKernel  # noqa: PLC0415
    from scripts.bench.rivals.ray_bank import Banks  # noqa: PLC0415

    say("Ray starts")
    count = scaled(_COMMANDS, scale, MORE)
    shares = [steps(count // MORE, LIVE, caller * LIVE // MORE) for caller in range(MORE)]
    with (
        local_ray(),
        RayKernel(DOMAINS, "memory:", shards=_SHARDS, passivation_timeout=HOUR) as kernel,
    ):
        banks = Banks(_SHARDS)
        fund(kernel, LIVE)
        banks.call(steps(LIVE))
        ours = callers_load(kernel, MORE, count)
        theirs = threads_load([partial(banks.call, share) for share in shares], shares)
        rates = alternate(rounds(_ROUNDS, scale), ours, theirs, say)
        kernel.end_shards()
    return [rates.figure(_NAME, at_least=10)]
