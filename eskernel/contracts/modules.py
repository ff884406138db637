"""Plain modules of functions, as users write them: whether they fit, and which version they are."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from types import CodeType, ModuleType
from typing import Any

from eskernel.errors import EskernelError


def check_function(
    kind: type[EskernelError], what: str, module: Any, function: str, arguments: tuple[str, ...]
) -> None:
    """Raise unless a module has a function that can be called with so many arguments.

    Args:
        kind: the error to raise.
        what: the module's role and name, for the message, such as `domain 'bank_account'`.
        module: a module, or any object with attributes.
        function: the function's name.
        arguments: what it is called with, in words.
    """
    found = getattr(module, function, None)
    wanted = f"{what} needs a function {function}({', '.join(arguments)})"
    if not callable(found):
        advice = "" if isinstance(module, ModuleType) else "; pass the module itself"
        raise kind(f"{wanted}, and {module!r} ({type(module).__name__}) has none{advice}")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # built-ins may not tell
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        advice = "; pass an instance, or make it static" if isinstance(module, type) else ""
        raise kind(f"{wanted}, not {function}{signature}{advice}") from None


def version_of(module: Any, functions: Iterable[str]) -> str:
    """Return what tells whether stored state was made by the same code.

    That is the declared `version`, else a hash of the module's source, else of the functions'
    byte code for a module whose source is not at hand.

    Args:
        module: the module.
        functions: the names of those of its functions that make state.
    """
    declared = getattr(module, "version", None)
    if declared is not None:
        return str(declared)
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        found = (getattr(module, function, None) for function in functions)
        source = repr([_outline(getattr(one, "__code__", None)) for one in found])
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _outline(code: Any) -> Any:
    """Return what a code object does, without the addresses and lines it has by chance."""
    if isinstance(code, frozenset):  # whose order changes from process to process
        return sorted(map(repr, code))
    if not isinstance(code, CodeType):
        return code
    return code.co_code, code.co_names, [_outline(constant) for constant in code.co_consts]
