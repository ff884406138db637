"""Worker processes killed and told to end at random under load: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal

import pytest
from process_helpers import Load, note, pid_at, process_kernel, streams_at
from structlog.testing import capture_logs
from support import eventually, new_seed

pytestmark = pytest.mark.stress

KILLS = int(os.environ.get("ESKERNEL_KILLS", "4"))
"""How many workers end in each test; most are killed."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
VICTIMS = (0, 1)
SPARED = 2


@pytest.fixture(autouse=True)
def _quiet_log():
    with capture_logs():
        yield


@pytest.mark.parametrize("lease_seconds", [None, 5.0])
def test_killed_workers_lose_nothing_and_no_other_worker_notices(sql_url, lease_seconds):
    seed = new_seed()
    rng = random.Random(seed)
    with process_kernel(sql_url, workers=3, lease_seconds=lease_seconds) as kernel:
        spared = streams_at(kernel, SPARED, 3)
        streams = [*spared, *(s for place in VICTIMS for s in streams_at(kernel, place, 3))]
        with Load(kernel, streams, seed) as load:
            for number in range(KILLS):
                _end_and_expect_service(kernel, number, load, rng)
                load.go_on(rng.randrange(100))
        load.check(sql_url)
    assert load.errors_of(spared) == []


def _end_and_expect_service(kernel, number, load, rng):
    place = rng.choice(VICTIMS)
    pid = pid_at(kernel, place)
    os.kill(pid, rng.choice(SIGNALS))
    (stream,) = streams_at(kernel, place, 1)
    kernel.dispatch(note(stream, 99, number, command_id=f"probe {number}"), timeout=20)
    load.accepted.add((stream, 99, number))
    eventually(lambda: pid_at(kernel, place) != pid, timeout=20)
