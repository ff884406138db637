"""The demo shows each fact, and fails when one is not as it should be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "scripts" / "demo.py"
COLOUR = re.compile(r"\x1b\[\d+m")

FACTS = """
✓ events go to: sqlite:///
├── committer (Committer)
├── aggregate-supervisor (AggregateSupervisor)
✓ running: kernel, actor-pool, outer-pool,
✓ missing: none
→ bank_account/acc-1: deposit {'amount': 100}
✓ events stored: 1 deposited 100
→ bank_account/acc-1: withdraw {'amount': 10}
✓ state, sequence: {'balance': 90}, 2
│   └── bank_account/acc-1 (AggregateActor)
→ bank_account/acc-1: withdraw {'amount': 1000}
✓ the caller gets: CommandRejected
✓ reason: insufficient_funds
✓ live aggregates: none
✓ its actor still alive: no
✓ what is stored: 1 deposited 100, 2 withdrawn 10
✓ state, sequence: {'balance': 140}, 3
→ bank_account/acc-1: deposit {'amount': 25} command_id='transfer-7'
→ bank_account/acc-1: deposit {'amount': 25} command_id='transfer-7'
✓ sequence the second time: 4
✓ state, sequence: {'balance': 165}, 4
✓ the caller gets: AggregateCrashed
✓ cause: RuntimeError('the reels are stuck')
kernel log: warning: aggregate_crashed ('slot_machine', 's-1')
✓ a fresh actor goes on at sequence: 2
✓ state, sequence: {'balance': 165}, 4
✓ the account goes on at sequence: 5
✓ process:
✓ events replayed: 5
✓ state, sequence: {'balance': 100}, 5
├── projection/balances (ProjectionActor)
✓ balances: {'acc-1': 100}
✓ events handled for it: 5
→ bank_account/acc-1: deposit {'amount': 30} wait_for=('balances',)
✓ balances: {'acc-1': 130}
✓ position: 8
→ order/o-1: pay {'amount': Decimal('9.00')} wait_for=('orders',)
SELECT order_id, customer, status, total FROM orders
✓ rows: o-1|ada|paid|900
✓ events stored meanwhile: 10000
✓ events handled for the orders: 10000
✓ events handled for the balances: 0
✓ balances: {'acc-1': 130}
✓ rows: paid|1|900, shipped|2500|2250000
100 %
✓ events handled again: 10003
✓ whoever asked meanwhile got all rows: yes
✓ rows: paid|1|900, shipped|2500|2250000
✓ events in the log: 10003
✓ missing: none
✓ doubled: none
✓ each handled once, in order: yes
All as it should be
"""


def run(
    *arguments: str, folder: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, by default the demo as `make demo` does."""
    return subprocess.run(
        [sys.executable, *(arguments or [str(DEMO)])],
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


def run_after(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process that has run this program before."""
    path = f"import sys; sys.path[:0] = {[str(DEMO.parent), *sys.path]!r}\n"
    return run("-c", f"{path}{program}\nimport demo\nsys.exit(demo.main())", **environment)


@pytest.fixture(scope="module")
def successful():
    return run()


def in_order(facts: list[str], output: str) -> list[str]:
    """Return the facts not found in the output, each looked for after the one before."""
    missing, position = [], 0
    for fact in facts:
        found = output.find(fact, position)
        if found < 0:
            missing.append(fact)
        else:
            position = found + len(fact)
    return missing


def test_the_demo_shows_every_fact_in_order_and_succeeds(successful):
    assert (successful.returncode, successful.stderr) == (0, "")
    assert in_order(FACTS.strip().splitlines(), successful.stdout) == []


def test_nothing_but_the_demo_prints(successful):
    begins = ("●", "kernel", "├", "│", "└", "✓", "→", "eskernel:", "All as", "SELECT", "[")
    lines = [line.strip() for line in successful.stdout.splitlines() if line.strip()]
    assert [line for line in lines if not line.startswith(begins)] == []


NOT_COUNTED = """
from domains import bank_account
bank_account.apply_event = lambda payload, state: state
"""
OVERDRAWN = """
from domains import bank_account
def handle_command(command, state):
    kind = {"deposit": "deposited", "withdraw": "withdrawn"}[command.type]
    return {"type": kind, **command.payload}
bank_account.handle_command = handle_command
"""
CRASHING = """
from domains import bank_account
def apply_event(payload, state): raise ValueError("cannot add")
bank_account.apply_event = apply_event
"""
RESTLESS = """
from eskernel.actors.aggregate.passivation import Passivator
Passivator.on_wake = lambda self: None
import demo_checks
demo_checks.PATIENCE = 0.1
"""
FORGETFUL = """
from eskernel_stores.sql import SqlStore
SqlStore.fold = lambda self, stream, function, initial, range=None: initial
"""
COUNTED_TWICE = """
import eskernel, functools
eskernel.Kernel = functools.partial(eskernel.Kernel, receipts_kept=0)
"""
SWALLOWED = """
from eskernel import Kernel
from eskernel.errors import AggregateCrashed
dispatch = Kernel.dispatch
def swallow(self, command, **options):
    try: return dispatch(self, command, **options)
    except AggregateCrashed: return None
Kernel.dispatch = swallow
"""
VOLATILE = """
import eskernel_stores
class Volatile(eskernel_stores.MemoryStore):
    immediate = False
eskernel_stores.open_store = lambda url: Volatile()
"""
ALONE = """
import demo_second_process
demo_second_process.__file__ = "no/such/file.py"
"""
LATE = """
import demo_second_process
demo_second_process.PATIENCE = 0.01
"""
FEW = """
import demo_read_side
demo_read_side.ORDERS = 10
"""
UNMOVED = """
from domains import account_balances
account_balances.handle_event = lambda event, state: state
"""
RAISING = """
from eskernel.projections import Projection
from domains import account_balances
def handle_event(event, state): raise ValueError("cannot count")
account_balances.handle_event = handle_event
import dataclasses
Projection.__init__.__defaults__ = tuple(
    0 if field.name == "retries" else field.default for field in dataclasses.fields(Projection)[1:]
)
"""
WRONG_ROWS = """
from domains import orders_table
orders_table.handle_event = lambda event, connection: None
"""
FROM_NOTHING = f"""
from eskernel.projections.state_model import StateModel
StateModel.load = lambda self, slot: None
{FEW}"""
NEVER_BUILT = f"""
from eskernel.projections.projector import Projector
Projector.rebuild = lambda self: None
import demo_checks
demo_checks.PATIENCE = 3
{FEW}"""
SKIPPING = """
from eskernel.projections.ledger import Ledger
after = Ledger.after
Ledger.after = lambda self, positions, reached: after(
    self, [one for one in positions if one != 10], reached
)
"""


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param(
            NOT_COUNTED,
            "({'balance': 0}, 1), but it should be ({'balance': 100}, 1)",
            id="events are not applied",
        ),
        pytest.param(OVERDRAWN, "but it should be CommandRejected", id="nothing is refused"),
        pytest.param(
            CRASHING,
            "AggregateCrashed: ('bank_account', 'acc-1') crashed on 'deposit'",
            id="the domain crashes",
        ),
        pytest.param(
            RESTLESS,
            "the idle actor is stopped: not within 0.1 seconds",
            id="nothing is passivated",
        ),
        pytest.param(
            FORGETFUL,
            "[], but it should be ['1 deposited 100', '2 withdrawn 10']",
            id="the store forgets",
        ),
        pytest.param(
            COUNTED_TWICE,
            "sequence the second time: 5, but it should be 4",
            id="repeats are counted",
        ),
        pytest.param(
            SWALLOWED,
            "the caller gets: None, but it should be AggregateCrashed",
            id="crashes are swallowed",
        ),
        pytest.param(
            VOLATILE,
            "events replayed: 0, but it should be 5",
            id="nothing is on disk",
        ),
        pytest.param(
            ALONE,
            "the second process: exit status 2: ",
            id="there is no second process",
        ),
        pytest.param(
            LATE,
            "the second process: still running after 0.01 seconds",
            id="the second process hangs",
        ),
        pytest.param(
            UNMOVED,
            "balances: {}, but it should be {'acc-1': 100}",
            id="events do not change a projection",
        ),
        pytest.param(
            RAISING,
            "NotProjected: projection 'balances' has stopped before position 7",
            id="a projection fails",
        ),
        pytest.param(
            WRONG_ROWS,
            "rows: [], but it should be ['o-1|ada|paid|900']",
            id="a table stays empty",
        ),
        pytest.param(
            FROM_NOTHING,
            "events handled for the balances: 6, but it should be 0",
            id="a projection begins from nothing each time",
        ),
        pytest.param(
            NEVER_BUILT,
            "the rebuild has begun: not within 3 seconds",
            id="nothing is rebuilt",
        ),
        pytest.param(
            SKIPPING,
            "missing: (10,), but it should be ()",
            id="an event is passed over",
        ),
    ],
)
def test_the_demo_fails_and_says_why_when_something_is_broken(broken, message, tmp_path):
    done = run_after(broken, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("\nFAILED: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "All as it should be" not in done.stdout
    assert [*tmp_path.iterdir()] == []


def test_the_demo_runs_in_any_folder_and_leaves_nothing_behind(tmp_path):
    elsewhere, temporary = tmp_path / "else where", tmp_path / "temporary"
    elsewhere.mkdir()
    temporary.mkdir()
    done = run(folder=elsewhere, TMPDIR=str(temporary))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"sqlite:///{temporary}" in done.stdout
    assert [*elsewhere.iterdir(), *temporary.iterdir()] == []


def percents(output: str) -> list[int]:
    """Return what the bars in an output say, in order."""
    return [int(number) for number in re.findall(r"\[█* *\] +(\d+) %", output)]


def test_in_a_pipe_the_bar_is_a_line_for_each_quarter(successful):
    assert set(percents(successful.stdout)) <= {0, 25, 50, 75, 100}
    assert percents(successful.stdout)[-1] == 100
    assert "\r" not in successful.stdout


def run_on_a_terminal() -> str:
    """Run the demo on a pseudo-terminal of its own, and return what it shows."""
    ours, its = os.openpty()
    shown = bytearray()
    with subprocess.Popen(
        [sys.executable, str(DEMO)],
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", "NO_COLOR": ""},
    ) as demo:
        os.close(its)
        with suppress(OSError), open(ours, "rb", buffering=0) as screen:  # EIO is its end
            while piece := screen.read(4096):
                shown += piece
    assert demo.returncode == 0, shown.decode()
    return shown.decode()


def test_on_a_terminal_the_bar_grows_in_place():
    coloured = run_on_a_terminal()
    shown = COLOUR.sub("", coloured)
    assert shown != coloured
    assert in_order(FACTS.strip().splitlines(), shown) == []
    (line,) = [line for line in shown.split("\r\n") if "%" in line]
    found = percents(line)
    assert found == sorted(set(found))
    assert len(found) >= 5, "it is seen moving"
    assert found[-1] == 100
    assert line.count("\r   [") == len(found)


def test_the_second_process_is_another_one(successful):
    second, first = re.findall(r"✓ process: (\d+), not (\d+)$", successful.stdout, re.MULTILINE)[0]
    assert second != first


def test_there_is_no_colour_in_a_pipe(successful):
    assert not COLOUR.search(successful.stdout)


TERMINAL = f"sys.stdout.isatty = sys.stderr.isatty = lambda: True{FEW}"


def test_there_is_colour_on_a_terminal():
    assert COLOUR.search(run_after(TERMINAL, TERM="xterm", NO_COLOR="").stdout)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb", "NO_COLOR": ""}])
def test_there_is_no_colour_for_those_who_want_none(environment):
    assert not COLOUR.search(run_after(TERMINAL, **{"TERM": "xterm", **environment}).stdout)


def test_a_terminal_without_these_characters_is_no_reason_to_fail():
    done = run(PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "? events stored: 1 deposited 100" in done.stdout
