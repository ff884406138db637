"""Crash stores for long: kill writers, cut the power, flip bits, kill the server.

    python scripts/crash.py --kills 300 --store file --store postgresql --seed 7

Needs what the tests need, for servers come from there. Exits with 1 if a store broke a promise.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from eskernel.testing import (
    BrokenByCrash,
    CrashReport,
    check_bit_flips,
    check_crashes,
    check_outages,
    check_power_cuts,
    check_truncations,
)
from eskernel_stores.file import FileStore
from eskernel_stores.jetstream import JetStreamStore
from eskernel_stores.mongo import MongoStore
from eskernel_stores.sql import SqlStore

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

from crash_stores import small_segments, sqlite_in  # noqa: E402 - found there
from mongo_helpers import HASTE, hasty_mongo  # noqa: E402
from mongo_server import MongoServer  # noqa: E402
from nats_cluster import NatsCluster  # noqa: E402
from nats_outages import WAYS, outage_of  # noqa: E402
from postgresql_server import PostgresServer  # noqa: E402

STORES = ("file", "sqlite", "postgresql", "jetstream", "mongo")


class Campaign(NamedTuple):
    """Crashes of one kind for one store.

    Attributes:
        name: what is done to which store.
        times: how often.
        run: does it, given where new stores may be put and more options.
        at_once: how often on one store; then follows a new one, for its inspection takes longer
            the more it holds.
        tells: whether `run` takes `progress`.
    """

    name: str
    times: int
    run: Callable[..., CrashReport]
    at_once: int = 60
    tells: bool = True


def campaigns(store: str, kills: int) -> Iterator[Campaign]:
    """Yield the campaigns of a store; a server runs as long as they are asked for."""
    if store == "file":
        yield from file_campaigns(kills)
    elif store == "sqlite":
        yield from sqlite_campaigns(kills)
    elif store == "postgresql":
        with closing(PostgresServer()) as server:
            yield from postgresql_campaigns(kills, server.start())
    elif store == "mongo":
        with MongoServer() as server:
            yield from mongo_campaigns(kills, server)
    else:
        with closing(NatsCluster()) as cluster:
            yield from jetstream_campaigns(kills, cluster.start())


def file_campaigns(kills: int) -> Iterator[Campaign]:
    for name, open_store in (("file", FileStore), ("file, small segments", small_segments)):
        yield Campaign(f"{name}: killed writers", kills, in_folder(check_crashes, open_store))
        cuts = partial(check_power_cuts, open_store, "{folder}")
        yield Campaign(f"{name}: power cuts", kills, counting(cuts, "cuts"))
        flips = counting(partial(check_bit_flips, open_store, "{folder}"), "flips")
        yield Campaign(f"{name}: flipped bits", 2 * kills, flips, at_once=100, tells=False)
    short = partial(check_truncations, FileStore, "{folder}", file="log-*")
    truncations = counting(short, "truncations")
    yield Campaign("file: cut short", 10 * kills, truncations, at_once=500, tells=False)


def sqlite_campaigns(kills: int) -> Iterator[Campaign]:
    yield Campaign("sqlite: killed writers", kills, in_folder(check_crashes, sqlite_in))
    if shutil.which("cc") is None:
        print("sqlite: power cuts left out, for they need a C compiler")
        return
    cuts = partial(check_power_cuts, sqlite_in, "{folder}", recorder="library")
    yield Campaign("sqlite: power cuts", kills, counting(cuts, "cuts"))


def postgresql_campaigns(kills: int, server: PostgresServer) -> Iterator[Campaign]:
    def kill() -> None:
        server.kill()
        time.sleep(random.random() * 0.1)
        server.start()

    def killed(_: Path, times: int, **options: Any) -> CrashReport:
        quiet = server.wait_for_quiet
        url = server.new_schema()
        return check_crashes(SqlStore, url, kills=times, after_kill=quiet, **options)

    def cut_off(outage: Callable[[], object], _: Path, times: int, **options: Any) -> CrashReport:
        options = {"outage": outage, "after_kill": server.wait_for_quiet, **options}
        return check_outages(SqlStore, server.new_schema(), outages=times, **options)

    yield Campaign("postgresql: killed writers", kills, killed)
    yield Campaign("postgresql: killed server", kills, partial(cut_off, kill))
    ended = partial(cut_off, server.terminate_connections)
    yield Campaign("postgresql: ended connections", kills, ended)


def jetstream_campaigns(kills: int, cluster: NatsCluster) -> Iterator[Campaign]:
    def killed(_: Path, times: int, **options: Any) -> CrashReport:
        options = {"after_kill": cluster.wait_for_quiet, **options}
        return check_crashes(JetStreamStore, cluster.new_url(), kills=times, **options)

    def failing(way: str, _: Path, times: int, **options: Any) -> CrashReport:
        url = cluster.new_url()
        options = {"after_kill": cluster.wait_for_quiet, **options}
        outage = outage_of(cluster, url, way)
        return check_outages(JetStreamStore, url, outage=outage, outages=times, **options)

    yield Campaign("jetstream: killed writers", kills, killed)
    for way in WAYS:  # each takes seconds, for servers elect a leader
        yield Campaign(f"jetstream: {way}", max(kills // 10, 1), partial(failing, way))


def mongo_campaigns(kills: int, server: MongoServer) -> Iterator[Campaign]:
    def kill(away: float) -> None:
        server.kill()
        time.sleep(away)
        server.start()

    def killed(_: Path, times: int, **options: Any) -> CrashReport:
        options = {"after_kill": server.wait_for_quiet, **options}
        return check_crashes(MongoStore, server.new_url(), kills=times, **options)

    def failing(
        open_store: Callable[..., Any],
        outage: Callable[[], object],
        _: Path,
        times: int,
        **options: Any,
    ) -> CrashReport:
        options = {"outage": outage, "after_kill": server.wait_for_quiet, **options}
        return check_outages(open_store, server.new_url(), outages=times, **options)

    fewer = max(kills // 10, 1)  # each takes seconds
    back, away = partial(kill, 0.05), partial(kill, 2 * HASTE)
    yield Campaign("mongo: killed writers", kills, killed)
    yield Campaign("mongo: killed server", kills, partial(failing, MongoStore, back))
    yield Campaign("mongo: server away", fewer, partial(failing, hasty_mongo, away))
    yield Campaign("mongo: restarted server", fewer, partial(failing, MongoStore, server.restart))


def in_folder(
    check: Callable[..., CrashReport], open_store: Callable[..., Any]
) -> Callable[..., CrashReport]:
    """Have a check of killed writers use a folder of its own."""
    return lambda scratch, times, **options: check(
        open_store, tempfile.mkdtemp(dir=scratch), kills=times, **options
    )


def counting(check: Callable[..., CrashReport], option: str) -> Callable[..., CrashReport]:
    """Have a check that finds a folder by itself take how often under this option."""

    def run(_: Path, times: int, **options: Any) -> CrashReport:
        return check(**{option: times}, **options)

    return run


def run(campaign: Campaign, seed: int, scratch: Path) -> bool:
    """Run one campaign, say how it goes, and return whether the store kept its promises."""
    print(f"{campaign.name}: {campaign.times} times")
    kept = True
    for done in range(0, campaign.times, campaign.at_once):
        times = min(campaign.at_once, campaign.times - done)
        options = {"progress": partial(progress, done)} if campaign.tells else {}
        try:
            report = campaign.run(scratch, times, seed=seed + done, **options)
        except BrokenByCrash as error:
            print(f"\r    BROKEN: {error}", flush=True)
            kept = False
        else:
            print(f"\r    {report}", flush=True)
    return kept


def progress(done: int, report: CrashReport) -> None:
    """Show how far a campaign is, to somebody who watches."""
    if sys.stdout.isatty():
        print(f"\r    {done + report.crashes}", end="", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300, help="how often, each way (default 300)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a campaign")
    parser.add_argument(
        "--store", action="append", choices=STORES, help="only this one; repeatable"
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash") as scratch:
        broken = [
            campaign.name
            for store in options.store or STORES
            for campaign in campaigns(store, options.kills)
            if not run(campaign, seed, Path(scratch))
        ]
    took = f"{time.monotonic() - begun:.0f} s, seed {seed}"
    print(f"BROKEN after {took}: {', '.join(broken)}" if broken else f"all kept, {took}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
