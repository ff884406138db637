"""The demo of processes shows each fact, and fails when one is not as it should be."""

from __future__ import annotations

import pytest
from test_demo import DEMO, in_order, run

PROCESSES_DEMO = DEMO.with_name("demo_processes.py")

FACTS = """
✓ quotes a second:
✓ quotes a second:
✓ times as fast:
✓ books that hold the same: 32
✓ events go to: sqlite:///
✓ killed: worker-0, process
kernel log: error: worker_ended: worker process
✓ replaced by: process
├── worker-0 (process
1 restart
│   └── kernel (KernelSupervisor)
└── worker-
✓ quotes accepted:
✓ longest wait of a caller:
✓ callers who got an error: none
✓ quotes accepted but not stored: none
✓ quotes stored twice: none
✓ quotes stored:
✓ books that hold the same when replayed: 32
✓ quotes in the books:
All as it should be
"""


def test_the_demo_shows_every_fact_in_order_and_succeeds():
    done = run(str(PROCESSES_DEMO))
    assert (done.returncode, done.stderr) == (0, "")
    assert in_order(FACTS.strip().splitlines(), done.stdout) == []


FEWER = """
import demo_processes, demo_quotes_steps
demo_quotes_steps.COMMANDS = demo_quotes_steps.SOME = 16
"""
FORGETFUL = """
end = demo_processes.Quoting.end
demo_processes.Quoting.end = lambda self: end(self) or self.accepted.append("forgotten")
"""
NEVER_REPLACED = """
from eskernel.processes.supervising import WorkerSupervisor
on_ended = WorkerSupervisor._on_ended
def leave_empty(self, place, child):
    on_ended(self, place, child)
    place.due = None
WorkerSupervisor._on_ended = leave_empty
demo_quotes_steps.TIMEOUT = 2.0
"""


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(FORGETFUL, "not stored: ['forgotten']", id="an accepted command is not there"),
        pytest.param(NEVER_REPLACED, "worker-0 is replaced: not within", id="nobody takes over"),
    ],
)
def test_the_demo_fails_when_something_is_not_as_it_should_be(broken, said):
    path = f"import sys; sys.path[:0] = [{str(DEMO.parent)!r}]\n"
    done = run("-c", f"{path}{FEWER}{broken}\nsys.exit(demo_processes.main())")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("FAILED")
    assert said in done.stderr
