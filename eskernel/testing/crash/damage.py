"""Damage: files cut short at every length, and bits that flip on the disk."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eskernel.contracts import EventStore
from eskernel.errors import CorruptStore
from eskernel.testing.conformance.tools import require, require_equal
from eskernel.testing.crash.breakage import blaming, chosen_seed, seeded
from eskernel.testing.crash.inspection import Finding, inspect, resume, whole_log
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.looking import CrashReport
from eskernel.testing.crash.nursery import Nursery
from eskernel.testing.crash.opening import Opening
from eskernel.testing.crash.reports import ENDED
from eskernel.testing.crash.writer import Load


def check_truncations(
    open_store: Callable[..., EventStore] | str,
    *arguments: str,
    file: str = "*",
    truncations: int = 200,
    seed: int | None = None,
    calls: int = 20,
) -> CrashReport:
    """Cut the newest file of a store short and inspect what it makes of it.

    It must open, hold the first of the appends, whole, no fewer than at a shorter length, and
    still be writable.

    Args:
        open_store: opens the store; as for `check_crashes`.
        arguments: what it is called with; `{folder}` stands for the folder of its files.
        file: pattern of names, of which the last in alphabetical order is cut short.
        truncations: how many lengths to try: all, if the file is no longer, else some.
        seed: repeats the campaign.
        calls: how often the one writer calls the store.

    Returns:
        What was done.

    Raises:
        BrokenByCrash: an AssertionError that names the seed.
    """
    with _Written(open_store, arguments, seed, calls) as written:
        path = _files(written.folder, file)[-1]
        size = path.stat().st_size
        random = seeded(written.report.seed, "lengths")
        count = max(min(size, truncations) - 4, 0)
        some = {0, 1, size - 1, size, *random.sample(range(size), count)}
        shown = 0
        for length in sorted(range(size + 1) if size < truncations else some):
            image = written.image()
            with (image / path.name).open("r+b") as damaged:
                damaged.truncate(length)
            with written.blaming(f"{path.name} cut to {length} of {size} bytes"):
                found = len(written.look(image).positions)
                require(found >= shown, f"{found} appends are there, of a shorter file {shown}")
                shown = found
        with written.blaming(f"{path.name} at its full length"):
            require_equal(shown, len(written.ledger.stored), "appends that are there")
    return written.report


def check_bit_flips(
    open_store: Callable[..., EventStore] | str,
    *arguments: str,
    file: str = "**/*",
    flips: int = 200,
    seed: int | None = None,
    calls: int = 20,
) -> CrashReport:
    """Flip one bit of a store's files and inspect what it makes of it.

    Either it raises CorruptStore, and leaves the damaged file alone; or it holds whole, unchanged
    appends, and misses at most those of the very last call, as after a power cut.

    Args:
        open_store: opens the store; as for `check_crashes`.
        arguments: what it is called with; `{folder}` stands for the folder of its files.
        file: pattern of the names of files to damage.
        flips: how many bits to flip, each by itself.
        seed: repeats the campaign.
        calls: how often the one writer calls the store.

    Returns:
        What was done.

    Raises:
        BrokenByCrash: an AssertionError that names the seed.
    """
    with _Written(open_store, arguments, seed, calls) as written:
        paths = _files(written.folder, file)
        sizes = [path.stat().st_size for path in paths]
        random = seeded(written.report.seed, "flips")
        for _ in range(flips):
            path = random.choices(paths, sizes)[0]
            content = bytearray(path.read_bytes())
            bit = random.randrange(len(content) * 8)
            content[bit // 8] ^= 1 << bit % 8
            image = written.image()
            damaged = image / path.relative_to(written.folder)
            damaged.write_bytes(content)
            with written.blaming(f"{path.name} with bit {bit} of {len(content) * 8} flipped"):
                try:
                    finding = written.look(image)
                except CorruptStore:
                    require(damaged.read_bytes() == content, "the damaged file was changed")
                    written.report.noticed += 1
                else:
                    lost = written.ledger.stored.keys() - finding.positions
                    require(lost <= written.last, f"lost without a word: {sorted(lost)[:5]}")
    return written.report


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files a pattern matches, in order; ValueError for none."""
    found = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not found:
        raise ValueError(f"no file of the store matches {pattern!r}")
    return found


class _Written:
    """A store that one writer wrote to, to be copied and damaged."""

    def __init__(
        self,
        open_store: Callable[..., EventStore] | str,
        arguments: tuple[str, ...],
        seed: int | None,
        calls: int,
    ) -> None:
        self._opening = Opening.of(open_store, arguments)
        self._calls = calls
        self._begun = time.monotonic()
        self.report = CrashReport(chosen_seed(seed))
        self.ledger = Ledger()
        self.last: set[str] = set()
        """Tokens that the last call stored."""

    def __enter__(self) -> _Written:
        self._scratch = tempfile.TemporaryDirectory(prefix="damage")
        self.folder = Path(self._scratch.name).resolve() / "written"
        self.folder.mkdir()
        load = Load(self.report.seed, 0, {}, threads=1, calls=self._calls)
        with self.blaming("writing"), Nursery(self._opening) as nursery:
            nursery.begin(self._opening.within(str(self.folder)), load)
            while (report := nursery.hear())[0] != ENDED:
                self._hear(report)
            require(report[1] == 0, f"the writer failed: {nursery.complaints()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()
        self.report.seconds = time.monotonic() - self._begun

    def _hear(self, report: Sequence[Any]) -> None:
        if self.ledger.hear(report):
            self.last = {token for token, _ in report[1]}

    def blaming(self, what: str) -> Any:
        """Say what was done to the files when the store breaks a promise in here."""
        return blaming(self.report.seed, self.report.crashes, what)

    def image(self) -> Path:
        """Return a new copy of the files, and count it as a crash."""
        image = self.folder.with_name("image")
        shutil.rmtree(image, ignore_errors=True)
        self.report.crashes += 1
        return Path(shutil.copytree(self.folder, image))

    def look(self, image: Path) -> Finding:
        """Return what a store of damaged files holds, which must be the first of the appends."""
        opening = self._opening.within(str(image))
        store = opening()
        try:
            finding = whole_log(store, self.ledger, self.report.seed)
            kept = self._kept(finding)
            resume(store, kept, finding, self.report.seed, f"image{self.report.crashes}")
        finally:
            store.close()
        store = opening()
        try:
            inspect(store, kept, self.report.seed)
        finally:
            store.close()
        self.report.events = max(self.report.events, finding.events)
        self.report.acknowledged = len(self.ledger.stored)
        return finding

    def _kept(self, finding: Finding) -> Ledger:
        first = dict(sorted(self.ledger.stored.items(), key=lambda item: item[1]))
        expected = dict([*first.items()][: len(finding.positions)])
        require_equal(finding.positions, expected, "the first appends and their positions")
        kept = self.ledger.copy()
        kept.stored = dict(finding.positions)
        kept.forbidden |= first.keys() - finding.positions
        return kept
