"""Power cuts: recorded writes replayed up to a moment, what was not synced left out at random."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from eskernel.contracts import EventStore
from eskernel.testing.conformance.tools import require
from eskernel.testing.crash.breakage import blaming, chosen_seed, seeded
from eskernel.testing.crash.inspection import Finding
from eskernel.testing.crash.ledger import Ledger
from eskernel.testing.crash.looking import CrashReport, look
from eskernel.testing.crash.nursery import Nursery
from eskernel.testing.crash.opening import Opening
from eskernel.testing.crash.recording import Disk, Frame, Kind, environment_of, read_frames
from eskernel.testing.crash.reports import ENDED
from eskernel.testing.crash.writer import Load


def check_power_cuts(
    open_store: Callable[..., EventStore] | str,
    *arguments: str,
    cuts: int = 60,
    rounds: int = 3,
    seed: int | None = None,
    threads: int = 3,
    calls: int = 12,
    recorder: str = "python",
    progress: Callable[[CrashReport], object] | None = None,
) -> CrashReport:
    """Cut the power of a store of files at random moments and inspect what is left.

    SIGKILL keeps what the system has not written yet; a power cut does not. So a writer's changes
    to files are recorded, with every append it was told is stored. For each cut the files are
    made anew up to a random moment: what was synced is there, what was not is there in part, in
    sectors of 512 bytes, names too. The store is opened there and inspected as by `check_crashes`.
    Each further round begins with the files of a cut: recovery is recorded, and cut, as well.

    Args:
        open_store: opens the store; as for `check_crashes`.
        arguments: what it is called with; `{folder}` stands for the folder of its files.
        cuts: how many in all.
        rounds: how many writers to record.
        seed: repeats a campaign as far as threads can be repeated.
        threads: how many write at once.
        calls: how often each thread calls the store.
        recorder: `"python"` sees files changed by functions of `os`; `"library"` also sees what C
            code does, such as SQLite, and needs Linux and a C compiler.
        progress: called with the report so far after each cut.

    Returns:
        What was done.

    Raises:
        BrokenByCrash: an AssertionError that names the seed.
        NotRecordable: the store changes files in a way that the recorder cannot see.
        OSError: the recorder cannot work here.
    """
    campaign = _Campaign(Opening.of(open_store, arguments), chosen_seed(seed), progress)
    with tempfile.TemporaryDirectory(prefix="cuts") as scratch:
        folder = Path(scratch).resolve()
        environment = environment_of(recorder, scratch)
        with Nursery(campaign.opening, recorder, environment) as nursery:
            (folder / "base").mkdir()
            rounds = min(rounds, cuts)
            for number in range(rounds):
                load = Load(campaign.seed, number, campaign.ledger.heads, threads, calls)
                campaign.record(nursery, folder, load)
                campaign.replay(folder, number, cuts // rounds + (number < cuts % rounds))
    return campaign.report


class _Campaign:
    def __init__(
        self, opening: Opening, seed: int, progress: Callable[[CrashReport], object] | None
    ) -> None:
        self.opening = opening
        self.seed = seed
        self.report = CrashReport(seed)
        self.ledger = Ledger()  # of what is in the folder "base"
        self._progress = progress
        self._begun = time.monotonic()
        self._random = seeded(seed, "cuts")

    def record(self, nursery: Nursery, folder: Path, load: Load) -> None:
        """Have a writer go on from `base`, in `live`, recorded in `log`."""
        live = _copy(folder / "base", folder / "live")
        load = load._replace(close=self._random.random() < 0.5)
        with blaming(self.seed, self.report.crashes, "recording"):
            nursery.begin(self.opening.within(str(live)), load, (str(live), str(folder / "log")))
            while (report := nursery.hear())[0] != ENDED:
                continue
            require(report[1] == 0, f"the writer failed: {nursery.complaints()}")

    def replay(self, folder: Path, round_number: int, cuts: int) -> None:
        """Inspect what cuts leave of the recorded writer; one is the base of the next."""
        frames = [*read_frames(folder / "log")]
        disk = Disk(folder / "base")
        ledger = self.ledger.copy()
        done = 0
        moments = sorted(_moments(self._random, frames, cuts))
        kept = self._random.randrange(len(moments))
        for index, moment in enumerate(moments):
            for frame in frames[done:moment]:
                disk.apply(frame)
                if frame.kind == Kind.MARK:
                    _hear(ledger, frame)
            done = moment
            self.report.crashes += 1
            random = seeded(self.seed, round_number, moment, self.report.crashes)
            image = _emptied(folder / "image")
            disk.cut(random, image)
            if index == kept:
                _copy(image, folder / "next")
            what = f"power cut after {moment} of {len(frames)} writes of round {round_number}"
            with blaming(self.seed, self.report.crashes, what):
                opening = self.opening.within(str(image))
                probe = f"cut{self.report.crashes}.further"
                finding = look(opening, ledger.copy(), self.report, probe, again=True)
            if index == kept:
                self._settle(ledger.copy(), finding)
            self.report.seconds = time.monotonic() - self._begun
            if self._progress is not None:
                self._progress(self.report)
        _copy(folder / "next", folder / "base")

    def _settle(self, ledger: Ledger, finding: Finding) -> None:
        """Take what a first look at the next base found as what it holds for ever."""
        for append in ledger.pending():
            if append.token in finding.positions:
                ledger.keep(append.token, finding.positions[append.token])
            else:
                ledger.abandon(append.token)
        ledger.heads = dict(finding.heads)
        self.ledger = ledger


def _hear(ledger: Ledger, mark: Frame) -> None:
    ledger.hear(json.loads(mark.data))


def _moments(random: Random, frames: list[Frame], cuts: int) -> list[int]:
    """Choose moments to cut at: any, some after a report, some after a write not yet synced."""
    told, written = [0], [0]
    for number, frame in enumerate(frames, 1):
        if frame.kind == Kind.MARK:
            told.append(number)
        elif frame.kind == Kind.WRITE:
            written.append(number)
    kinds = (range(len(frames) + 1), told, written)
    return [random.choice(random.choice(kinds)) for _ in range(cuts)]


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
