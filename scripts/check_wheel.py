"""Check the built wheel from where only it and its core dependencies are installed.

Run outside the checkout: `python -I check_wheel.py path/to/eskernel-….whl`. The module is its own
sample domain: a counter.
"""

from __future__ import annotations

import sys
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eskernel import Command, Kernel
from eskernel_stores import MemoryStore

PACKAGES = ("eskernel", "eskernel_stores")
ELSEWHERE = ("domains", "tests", "scripts", "stores", "pytest", "hypothesis")


def init() -> int:
    return 0


def handle_command(command: Command, _state: int) -> dict[str, Any]:
    return {"type": "added", "by": command.payload["by"]}


def apply_event(payload: dict[str, Any], state: int) -> int:
    total: int = state + payload["by"]
    return total


def check_contents(wheel: Path) -> None:
    """The wheel holds the two packages, typed, and its own metadata with the licence."""
    name, version = wheel.name.split("-")[:2]
    dist_info = f"{name}-{version}.dist-info"
    files = zipfile.ZipFile(wheel).namelist()
    strays = [file for file in files if file.split("/")[0] not in (*PACKAGES, dist_info)]
    expect(not strays, f"only {' and '.join(PACKAGES)} in the wheel", strays)
    wanted = [f"{package}/py.typed" for package in PACKAGES]
    missing = {*wanted, f"{dist_info}/licenses/LICENSE"}.difference(files)
    expect(not missing, "py.typed in both, and the licence", missing)


def check_surroundings() -> None:
    """Nothing of the checkout or its tools is at hand, so that what follows proves something."""
    found = [name for name in ELSEWHERE if find_spec(name)]
    expect(not found, f"none of {', '.join(ELSEWHERE)} importable", found)
    outside = [
        package
        for package in PACKAGES
        if not Path(str(import_module(package).__file__)).is_relative_to(sys.prefix)
    ]
    expect(not outside, "both packages imported from this environment", outside)


def check_dispatch() -> None:
    """A kernel over a memory store accepts a command."""
    with Kernel({"counter": sys.modules[__name__]}, MemoryStore()) as kernel:
        done = kernel.dispatch(Command("counter", "a", "add", {"by": 2}))
        outcome = done.sequence, [event.payload for event in done.events]
        expect(outcome == (1, [{"type": "added", "by": 2}]), "a command dispatched", outcome)
        state = kernel.state_of("counter", "a")
        expect(state == (2, 1), "its state read back", state)


def check_testing() -> None:
    """The shipped suites can be looked at without pytest or hypothesis."""
    import_module("eskernel.testing")
    expect(True, "eskernel.testing imported without pytest and hypothesis", None)


def expect(holds: bool, what: str, found: object) -> None:
    if not holds:
        sys.exit(f"FAILED: {what}; found {found!r}")
    print(f"ok: {what}")


if __name__ == "__main__":
    check_contents(Path(sys.argv[1]))
    check_surroundings()
    check_dispatch()
    check_testing()
