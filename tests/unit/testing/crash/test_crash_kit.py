"""The crash kit passes a store that keeps its promises, and tells what others break."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import crash_stores
import pytest
from crash_stores import LogStore
from support import new_seed

from eskernel.testing import (
    BrokenByCrash,
    CrashReport,
    NotRecordable,
    check_bit_flips,
    check_crashes,
    check_outages,
    check_power_cuts,
    check_truncations,
)
from eskernel_stores import MemoryStore


def broken_by(check, name, folder, **options):
    """Return what a check says of a store that must not pass it."""
    seed = new_seed()
    with pytest.raises(BrokenByCrash, match=f"of seed {seed}") as caught:
        check(getattr(crash_stores, name), str(folder), seed=seed, **options)
    assert caught.value.seed == seed
    assert caught.value.__cause__ is not None
    return str(caught.value)


def test_a_durable_store_survives_and_the_report_says_what_was_done(tmp_path):
    told = []
    report = check_crashes(LogStore, str(tmp_path), kills=4, seed=7, progress=told.append)
    assert isinstance(report, CrashReport)
    assert (report.seed, report.crashes, len(told)) == (7, 4, 4)
    assert report.events >= report.acknowledged > 0
    assert "4 crashes" in str(report)
    assert str(report).endswith("seed 7")
    assert check_power_cuts(LogStore, "{folder}", cuts=20).crashes == 20
    assert check_truncations(LogStore, "{folder}", truncations=30).crashes >= 30


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AcknowledgesFirst", "acknowledged appends are lost"),
        ("WritesHalf", "events of"),
        ("KeepsTornTails", "appends are lost|was stored, though"),
        ("ForgetsIds", "ConcurrencyConflict"),
        ("CrashesOnOpening", "cannot read my own log"),
    ],
)
def test_killing_writers_shows(name, words, tmp_path):
    assert re.search(words, broken_by(check_crashes, name, tmp_path, kills=60))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AcknowledgesFirst", "acknowledged appends are lost"),
        ("ForgetsToSync", "acknowledged appends are lost"),
        ("ForgetsToSyncTheFolder", "acknowledged appends are lost"),
        ("KeepsTornTails", "acknowledged appends are lost"),
        ("ChecksNothing", ""),
        ("WritesHalf", "events of"),
    ],
)
def test_cutting_the_power_shows(name, words):
    assert words in broken_by(check_power_cuts, name, "{folder}", cuts=200)


def test_a_store_that_only_forgets_to_sync_survives_killed_writers(tmp_path):
    check_crashes(crash_stores.ForgetsToSync, str(tmp_path), kills=4)


def test_cutting_files_short_shows_a_store_that_keeps_torn_tails():
    broken_by(check_truncations, "KeepsTornTails", "{folder}")


def test_flipping_bits_shows_a_store_without_checksums_and_one_that_drops_what_follows():
    broken_by(check_bit_flips, "ChecksNothing", "{folder}")
    assert "lost without a word" in broken_by(check_bit_flips, "LogStore", "{folder}")


def test_a_recorder_that_cannot_see_all_says_so():
    with pytest.raises(NotRecordable, match=r"open\(\)"):
        check_power_cuts(crash_stores.WritesBehindTheRecorder, "{folder}", cuts=1)
    with pytest.raises(ValueError, match="'python' or 'library'"):
        check_power_cuts(LogStore, "{folder}", recorder="strace")


def test_without_a_compiler_the_recorder_below_python_says_what_it_needs(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(OSError, match="compiler"):
        check_power_cuts(LogStore, "{folder}", recorder="library")


def test_a_compiler_that_fails_is_quoted(monkeypatch):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(OSError, match="cannot build"):
        check_power_cuts(LogStore, "{folder}", recorder="library")


@pytest.mark.parametrize("name", ["FailsAtTimes", "FailsAndStores", "FailsInBatches"])
def test_an_outage_is_no_breach_if_the_store_tells_the_truth(name, tmp_path):
    flag = tmp_path / "down"
    opener = getattr(crash_stores, name)
    report = check_outages(
        opener, str(tmp_path), outage=lambda: outage(flag), outages=3, per_writer=2
    )
    assert report.unavailable
    assert "met a store that was down" in str(report)


def outage(flag):
    flag.touch()
    threading.Event().wait(0.05)
    flag.unlink()


def test_an_outage_shows_a_store_that_denies_what_it_stored(tmp_path):
    flag = tmp_path / "down"
    said = broken_by(
        check_outages, "DeniesWhatItStored", tmp_path, outage=lambda: outage(flag), outages=20
    )
    assert "refused" in said or "denies" in said or "expected" in said


def test_an_outage_nobody_caused_is_a_breach(tmp_path):
    (tmp_path / "down").touch()
    said = broken_by(check_crashes, "FailsAtTimes", tmp_path, kills=30)
    assert "though nothing had happened" in said or "StoreUnavailable" in said


def inner():
    def local(folder):
        return LogStore(folder)

    return local


@pytest.mark.parametrize(
    ("function", "argument"),
    [(inner(), "x"), (lambda folder: None, "x"), (LogStore, 5), ("crash_stores", "x")],
)
def test_a_store_that_another_process_could_not_open_is_refused(function, argument):
    with pytest.raises(TypeError, match="importable module"):
        check_crashes(function, argument)


def test_a_store_can_be_named(tmp_path):
    assert check_crashes("crash_stores:LogStore", str(tmp_path), kills=1).crashes == 1


def test_a_store_that_is_not_empty_is_refused(tmp_path):
    check_crashes(LogStore, str(tmp_path), kills=2)
    with pytest.raises(BrokenByCrash):
        check_crashes(LogStore, str(tmp_path), kills=2)


def test_a_store_that_is_gone_with_its_process_is_caught():
    with pytest.raises(BrokenByCrash, match="lost"):
        check_crashes(MemoryStore, kills=20)


def test_a_module_that_starts_threads_gets_a_process_for_each_writer(tmp_path):
    assert check_crashes("crash_stores_threaded:LogStore", str(tmp_path), kills=3).crashes == 3


def test_a_module_that_cannot_be_imported_is_quoted(tmp_path):
    with pytest.raises(BrokenByCrash, match="ModuleNotFoundError"):
        check_crashes("no_such_module:LogStore", str(tmp_path), kills=1)


def test_the_kit_needs_no_test_library(tmp_path):
    program = (
        "import sys\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from eskernel.testing import check_crashes\n"
        f"check_crashes('crash_stores:LogStore', {str(tmp_path)!r}, kills=2)\n"
        "found = {'pytest', '_pytest', 'hypothesis'} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_running(tmp_path):
    before = children()
    broken_by(check_crashes, "CrashesOnOpening", tmp_path, kills=5)
    assert children() == before


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read()
