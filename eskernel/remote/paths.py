"""Import paths: how modules and functions are named for another process."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from eskernel.errors import NotImportable

ADVICE: Final = (
    "put it into a module and name it by its import path, 'package.module' or "
    "'package.module:object'"
)


def import_object(path: str) -> Any:
    """Return the module `package.module`, or the object `package.module:name.of.it`.

    Raises:
        NotImportable: there is none, or importing it fails; `__cause__` tells.
    """
    module_name, _, names = path.partition(":")
    try:
        found = import_module(module_name)
        for name in names.split(".") if names else ():
            found = getattr(found, name)
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in _packages_of(module_name)
        advice = "; see that it is installed, or on sys.path, in every process" if absent else ""
        raise NotImportable(
            f"cannot import {path!r}: {type(error).__name__}: {error}{advice}"
        ) from error
    return found


def _packages_of(module_name: str) -> list[str]:
    """Return a module's name and those of all packages it is in."""
    parts = module_name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def path_of(given: Any) -> str:
    """Return the import path of a module, class or function, or of what a path was given for.

    Args:
        given: a module, an object with `__module__` and `__qualname__`, or an import path.

    Raises:
        NotImportable: no other process could import it.
    """
    if isinstance(given, str):
        return given
    module_name = getattr(given, "__module__", None)
    qualified = getattr(given, "__qualname__", None)
    if isinstance(given, ModuleType):
        module_name, qualified = given.__name__, ""
    if not isinstance(module_name, str) or not isinstance(qualified, str):
        raise NotImportable(f"{given!r} has no name to import it by; {ADVICE}")
    if module_name == "__main__":
        raise NotImportable(
            f"{given!r} is in the script that was started, which no other process can import; "
            "move it into a module"
        )
    path = f"{module_name}:{qualified}" if qualified else module_name
    if "<" in path or _found(path) is not given:
        raise NotImportable(f"{given!r} cannot be imported as {path!r}; {ADVICE}")
    return path


def _found(path: str) -> Any:
    try:
        return import_object(path)
    except NotImportable:
        return None


def importing(what: str, path: str, refuse: Callable[[str], Exception]) -> Any:
    """Return what a path names; raises `refuse(message)` if there is nothing.

    Args:
        what: the role of it, for the message, such as `domain 'bank_account'`.
        path: the import path.
        refuse: from a message to the error.
    """
    try:
        return import_object(path)
    except NotImportable as error:
        raise refuse(f"{what}: {error}") from error.__cause__
