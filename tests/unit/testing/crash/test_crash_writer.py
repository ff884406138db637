"""The writer tells the truth about every append, and the inspection every untruth of a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from crash_stores import DeniesWhatItStored, FailsAndStores, FailsAtTimes, LogStore
from support import eventually, new_seed

from eskernel.testing.crash.inspection import inspect, resume
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.reports import DONE, OPENED, OPENING, Reports
from eskernel.testing.crash.writer import Load, write
from eskernel_stores import MemoryStore


class Stubborn(MemoryStore):
    """Stores what expects a wrong sequence."""

    def append(self, stream_id, events, *, expected_sequence, append_id=None):
        found = len(self._streams.get(stream_id, ()))
        moved = [
            event._replace(sequence=found + n, body=event.body) for n, event in enumerate(events, 1)
        ]
        return super().append(stream_id, moved, expected_sequence=found, append_id=append_id)


def written(store, load, **options):
    """Return the ledger of a load put on a store, and what was said besides."""
    read, write_end = os.pipe()
    ledger = Ledger(**options)
    others = []
    errors = []

    def listen():
        with os.fdopen(read) as lines:
            for line in lines:
                report = json.loads(line)
                if report[0] in (OPENING, OPENED, DONE):
                    others.append(report)
                    continue
                try:
                    ledger.hear(report)
                except AssertionError as error:
                    errors.append(error)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    write(lambda: store, load, Reports(write_end), 42)
    os.close(write_end)
    listener.join(10)
    if errors:
        raise errors[0]
    return ledger, others


def test_what_is_told_is_what_the_store_holds():
    store, seed = MemoryStore(), new_seed()
    ledger, others = written(store, Load(seed, 1, {}, threads=3, calls=40))
    assert others == [[OPENING, 42], [OPENED], [DONE]]
    finding = inspect(store, ledger, seed)
    assert finding.positions == ledger.stored
    assert ledger.forbidden, "no conflict was met"
    assert not ledger.pending()
    resume(store, ledger, finding, seed, "probe")
    assert (
        inspect(store, ledger, seed).events
        == finding.events + ledger.tried["probe"].last(seed) - ledger.tried["probe"].expected
    )


def test_a_second_writer_goes_on_where_the_first_ended():
    store, seed = MemoryStore(), new_seed()
    first, _ = written(store, Load(seed, 1, {}, threads=2, calls=20, close=False))
    finding = inspect(store, first, seed)
    second, _ = written(store, Load(seed, 2, finding.heads, threads=2, calls=20))
    assert second.stored
    assert not second.stored.keys() & first.stored.keys()


@pytest.mark.parametrize("opener", [FailsAtTimes, FailsAndStores])
def test_appends_that_met_an_outage_are_settled_when_it_is_over(opener, tmp_path):
    flag, seed = tmp_path / "down", new_seed()
    store = opener(tmp_path)
    flag.touch()
    timer = threading.Timer(0.2, flag.unlink)
    timer.start()
    ledger, _ = written(store, Load(seed, 1, {}, 2, calls=30, close=False), may_be_down=True)
    timer.join()
    assert ledger.outages
    assert bool(ledger.unknown) == opener.outcome_unknown
    inspect(store, ledger, seed)
    store.close()


def test_a_store_that_denies_what_it_stored_is_found_out(tmp_path):
    flag, seed = tmp_path / "down", new_seed()
    store = DeniesWhatItStored(tmp_path)
    flag.touch()
    threading.Timer(0.2, flag.unlink).start()
    with pytest.raises(AssertionError):
        inspect(
            store,
            written(store, Load(seed, 1, {}, 2, calls=30, close=False), may_be_down=True)[0],
            seed,
        )
    eventually(lambda: not flag.exists())
    store.close()


def test_an_outage_without_a_cause_is_no_excuse(tmp_path):
    (tmp_path / "down").touch()
    store = FailsAtTimes(tmp_path)
    threading.Timer(0.2, (tmp_path / "down").unlink).start()
    with pytest.raises(AssertionError, match="though nothing had happened"):
        written(store, Load(1, 1, {}, 1, calls=5))


def test_a_conflict_that_is_none_is_found_out():
    with pytest.raises(AssertionError, match="was stored, though"):
        written(Stubborn(), Load(3, 1, {}, 1, calls=200))


def changed(**facts):
    """Return a store that tells something else of one event in the middle of its log."""

    class Changed(MemoryStore):
        def fold_all(self, function, initial, *args, **options):
            middle = self.last_position() // 2

            def told(accumulator, event):
                is_one = event.position == middle
                return function(accumulator, event._replace(**facts) if is_one else event)

            return super().fold_all(told, initial, *args, **options)

    return Changed


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"position": 1}, "positions of the log"),
        ({"command_id": "stranger"}, "nobody wrote|events of"),
        ({"type": "guessed"}, "an event of"),
        ({"body": b"\x01"}, "an event of"),
    ],
)
def test_an_event_that_is_not_what_was_written_is_found_out(facts, words):
    store, seed = changed(**facts)(), new_seed()
    ledger, _ = written(store, Load(seed, 1, {}, threads=2, calls=20))
    with pytest.raises(AssertionError, match=words):
        inspect(store, ledger, seed)


def test_an_append_refused_but_stored_is_found_out():
    store, seed = MemoryStore(), new_seed()
    ledger, _ = written(store, Load(seed, 1, {}, threads=1, calls=20))
    ledger.forbidden.add(next(iter(ledger.stored)))
    with pytest.raises(AssertionError, match="though it was refused"):
        inspect(store, ledger, seed)


def test_a_position_behind_what_was_already_seen_is_found_out():
    store, seed = MemoryStore(), new_seed()
    ledger, _ = written(store, Load(seed, 1, {}, threads=1, calls=20))
    ledger.floors[next(iter(ledger.stored))] = 1_000_000
    with pytest.raises(AssertionError, match="begun after"):
        inspect(store, ledger, seed)


def test_two_positions_for_one_append_are_found_out():
    ledger = Ledger()
    ledger.keep("one", 5)
    with pytest.raises(AssertionError, match="position of one"):
        ledger.keep("one", 6)


def test_a_report_too_long_for_a_pipe_is_refused():
    with pytest.raises(ValueError, match="torn"):
        Reports(1).tell("x" * 5000)


def test_a_writer_without_a_listener_ends():
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import os, time\n"
        "from eskernel.testing.crash.reports import Reports\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "Reports(write).tell('anybody?')\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    assert done.returncode == 1


def test_what_was_under_way_is_sent_again_and_stored_once():
    store, seed = MemoryStore(), new_seed()
    ledger, _ = written(store, Load(seed, 1, {}, threads=1, calls=30, close=False))
    with_ids = [t for t in ledger.stored if ledger.tried[t].commit(seed).append_id is not None]
    forgotten = with_ids[-3:]
    for token in forgotten:
        del ledger.stored[token]
    before = store.last_position()
    finding = inspect(store, ledger, seed)
    resume(store, ledger, finding, seed, "probe")
    probe = ledger.tried["probe"]
    assert store.last_position() == before + probe.last(seed) - probe.expected
    assert all(ledger.stored[token] == finding.positions[token] for token in forgotten)


def test_a_log_store_opened_again_holds_the_same(tmp_path):
    seed = new_seed()
    ledger, _ = written(LogStore(tmp_path), Load(seed, 1, {}, threads=2, calls=20))
    store = LogStore(tmp_path)
    assert inspect(store, ledger, seed).positions == ledger.stored
    store.close()
