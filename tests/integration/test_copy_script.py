"""The command line script copies, shows how far it is, and says what went wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import eventually

from domains.order import LineAdded, Placed
from eskernel.codec import Codec
from eskernel.values import Event
from eskernel_stores import MemoryStore, copy_store, open_store

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "copy_store.py"
CODEC = Codec([Placed, LineAdded])


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *arguments]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the script, in a pipe instead of a terminal."""
    return subprocess.run(
        command_line(*arguments),
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def run_on_a_terminal(*arguments: str, term: str = "xterm") -> str:
    """Run the script with a terminal as its stderr; return what that shows."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command_line(*arguments),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": term},
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how Linux says that nobody writes to the terminal any more
            process.wait(60)
        os.close(ours)
    return shown.decode()


def fill(url: str, *payloads: object) -> str:
    """Make a store of one stream of each payload; return its URL."""
    store = open_store(url)
    for number, payload in enumerate(payloads):
        stream_id = ("order", f"o-{number}")
        event = Event(stream_id, 1, "happened", payload).sealed(CODEC.pack, CODEC.unpack)
        store.append(stream_id, [event], expected_sequence=0)
    store.close()
    return url


def last_position(url: str) -> int:
    store = open_store(url)
    try:
        return store.last_position()
    finally:
        store.close()


@pytest.fixture
def urls(tmp_path):
    """URLs of two stores that are not there yet."""
    return f"sqlite:///{tmp_path / 'source.db'}", f"sqlite:///{tmp_path / 'target.db'}"


def test_a_store_is_copied_and_verified(urls):
    fill(urls[0], *range(20))
    done = run(*urls, "--batch", "5")
    assert done.returncode == 0, done.stderr
    assert "20 events in 20 streams: 20 copied, 0 already there; verified" in done.stdout
    source = open_store(urls[0])
    digest = copy_store(source, MemoryStore()).digest
    source.close()
    assert f"digest of either store: {digest}" in done.stdout
    assert "snapshots and checkpoints are not copied" in done.stdout
    again = run(*urls)
    assert (again.returncode, again.stdout.count("0 copied, 20 already there")) == (0, 1)


def test_elsewhere_than_on_a_terminal_each_stage_is_one_line(urls):
    fill(urls[0], 1)
    done = run(*urls)
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "  0 % reading the source"
    assert lines[-1] == "100 % done"
    percents = [int(line.split()[0]) for line in lines]
    assert percents == sorted(set(percents))


def test_a_terminal_shows_a_bar_that_grows_to_the_end(urls):
    fill(urls[0], *range(20))
    shown = run_on_a_terminal(*urls, "-b", "2")
    percents = [int(text) for text in re.findall(r"\r\[#*\.*\] +(\d+) % ", shown)]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert len(percents) > 10
    assert shown.endswith("\n")
    assert "\r[" not in run_on_a_terminal(*urls, term="dumb")


def test_a_copy_that_was_killed_is_finished_by_running_it_again(urls):
    fill(urls[0], *range(300))
    with subprocess.Popen(
        command_line(*urls, "-b", "1"), cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: last_position(urls[1]) > 3, 30)
        finally:
            process.kill()
    there = last_position(urls[1])
    done = run(*urls)
    assert done.returncode == 0, done.stderr
    assert f"{300 - there} copied, {there} already there" in done.stdout


def test_types_are_declared_by_domains_or_one_by_one(urls):
    fill(urls[0], Placed("Ada"), LineAdded("tea", 1, 2))
    undeclared = run(*urls)
    assert undeclared.returncode == 1
    assert "FAILED: InvalidDomain: event 1 of stream ('order', 'o-0')" in undeclared.stderr
    assert last_position(urls[1]) == 0
    single = ("--types", "domains.order:Placed", "--types", "domains.order:LineAdded")
    assert run(*single, *urls).returncode == 0
    done = run("--domain", "domains.order", *urls)
    assert done.returncode == 0, done.stderr
    assert "2 already there" in done.stdout


def test_domains_are_found_where_the_script_is_run(urls, tmp_path):
    (tmp_path / "own_domain.py").write_text("from domains.order import Placed\ntypes = (Placed,)\n")
    fill(urls[0], Placed("Ada"))
    done = run(*urls, "--domain", "own_domain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_target_that_is_no_copy_is_refused(urls):
    fill(urls[0], 1)
    fill(urls[1], 2)
    done = run(*urls)
    assert done.returncode == 1
    assert "FAILED: the target is not empty, and no copy of the source to continue" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_source_asks_whether_it_is_the_right_one(urls):
    done = run("memory:", urls[1])
    assert done.returncode == 0, done.stderr
    assert "The source is empty. Is its URL the right one?" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unheard-of:///of", "memory:"), "'unheard-of:///of' names no store; allowed: "),
        (("memory:", "bank.db"), "'bank.db' names no store; allowed: "),
        (("memory:", "memory:?"), "says more than a memory store can use"),
        (("memory:", "memory:"), "source and target are one store"),
        (("memory:",), "required: TARGET_URL"),
        (("memory:", "sqlite:///x.db", "-b", "0"), "whole number of at least 1, not '0'"),
        (("memory:", "sqlite:///x.db", "-d", "no.such.module"), "cannot import 'no.such.module'"),
        (("memory:", "sqlite:///x.db", "-d", ""), "cannot import ''"),
        (("memory:", "sqlite:///x.db", "-t", "domains.order:Nothing"), "names no class"),
        (("memory:", "sqlite:///x.db", "-t", "domains.order"), "names no class"),
    ],
)
def test_a_wrong_command_line_is_explained_with_status_2(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
