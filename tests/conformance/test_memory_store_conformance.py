"""MemoryStore keeps every guarantee but durability."""

import subprocess
import sys

import pytest

from eskernel.testing import (
    check_checkpoint_store,
    check_event_store,
    check_fencing_store,
    check_snapshot_store,
    checkpoint_store_checks,
    event_store_checks,
    fencing_store_checks,
    snapshot_store_checks,
)
from eskernel_stores import MemoryStore

ALL = [*event_store_checks(), *snapshot_store_checks(), *checkpoint_store_checks()]


@pytest.mark.parametrize("check", ALL)
def test_memory_store_keeps_its_guarantee(check):
    assert check(MemoryStore) or check.needs == "reopen"


def test_one_call_checks_an_event_store_and_reports_what_was_checked():
    names = check_event_store(MemoryStore)
    assert names == [check.name for check in event_store_checks() if check.needs != "reopen"]
    assert "a wrong expected sequence is a conflict" in names


def test_one_call_checks_a_snapshot_store_and_reports_what_was_checked():
    names = check_snapshot_store(MemoryStore)
    assert names == [check.name for check in snapshot_store_checks() if check.needs != "reopen"]


def test_one_call_checks_a_checkpoint_store_and_reports_what_was_checked():
    names = check_checkpoint_store(MemoryStore)
    checks = checkpoint_store_checks()
    assert names == [check.name for check in checks if check.needs != "reopen"]
    assert "a smaller epoch never overwrites a larger" in names


def test_durability_is_checked_when_the_store_can_be_opened_again():
    assert "events outlive closing" in check_event_store(MemoryStore, reopen=lambda store: store)
    checked = check_snapshot_store(MemoryStore, reopen=lambda store: store)
    assert "snapshots outlive closing" in checked
    checked = check_checkpoint_store(MemoryStore, reopen=lambda store: store)
    assert "epochs outlive closing" in checked


def test_every_check_has_a_name_of_its_own_and_says_what_it_guarantees():
    every = [*ALL, *fencing_store_checks()]
    assert len({check.name for check in every}) == len(every)
    assert all(check.function.__doc__ for check in every)


@pytest.mark.parametrize("flags", [[], ["-O"]])
def test_the_suite_needs_no_test_library_and_works_without_assert(flags):
    program = (
        "import sys, eskernel.testing as testing; from eskernel_stores import MemoryStore\n"
        "found = {'pytest', '_pytest', 'hypothesis'} & set(sys.modules)\n"
        "if found: sys.exit(f'imported {found}')\n"
        "class Silent(MemoryStore):\n"
        "    def last_position(self): return 0\n"
        "try: testing.check_event_store(Silent)\n"
        "except AssertionError: sys.exit(0)\n"
        "sys.exit('a broken store passed')"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "check",
    [check_event_store, check_fencing_store, check_snapshot_store, check_checkpoint_store],
)
def test_a_store_in_place_of_a_function_that_makes_one_is_refused(check):
    with pytest.raises(TypeError, match="returns a new, empty store"):
        check(MemoryStore())
