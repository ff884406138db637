"""The cluster demo shows each fact, and fails when one is not as it should be."""

from __future__ import annotations

import pytest
from test_demo import DEMO, in_order, run

CLUSTER_DEMO = DEMO.with_name("demo_cluster.py")

FACTS = """
✓ servers: n0
✓ events go to: nats://
✓ kernel A: process
✓ kernel B: process
✓ acc-1: kernel A, sequence: 1
✓ acc-1: kernel B, sequence: 2
✓ killed: n
✓ another leads: yes
✓ kernel A goes on
✓ kernel B goes on
✓ has caught up: n
✓ kernel A deposits accepted:
✓ kernel B deposits accepted:
✓ events:
✓ commands stored twice: none
✓ the log adds up to:
✓ kernel A reads them again: {'acc-1':
✓ kernel A's projection: {'acc-1':
✓ kernel B reads them again: {'acc-1':
✓ kernel B's projection: {'acc-1':
All as it should be
"""


def run_after(program: str):
    """Run the demo in a process that has run this program before."""
    path = f"import sys; sys.path[:0] = [{str(DEMO.parent)!r}]\n"
    return run("-c", f"{path}{program}\nimport demo_cluster\nsys.exit(demo_cluster.main())")


def test_the_demo_shows_every_fact_in_order_and_succeeds():
    done = run(str(CLUSTER_DEMO))
    assert (done.returncode, done.stderr) == (0, "")
    assert in_order(FACTS.strip().splitlines(), done.stdout) == []


COUNTED_WRONGLY = """
import demo_cluster
balances_of = demo_cluster.balances_of
demo_cluster.balances_of = lambda events: balances_of(events[:-1])
demo_cluster.kill = lambda bank: begin(bank)
demo_cluster.bring_back = lambda bank, leader: None
def begin(bank):
    for kernel in bank.kernels:
        kernel.ask("begin", *demo_cluster.ACCOUNTS)
"""
BROKEN_KERNEL = """
import demo_cluster_kernel
demo_cluster_kernel.__file__ = "/dev/null"
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (COUNTED_WRONGLY, "the log adds up to"),
        (BROKEN_KERNEL, "kernel A ended with 0"),
    ],
)
def test_the_demo_fails_when_something_is_not_as_it_should_be(program, said):
    done = run_after(program)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("FAILED")
    assert said in done.stderr
