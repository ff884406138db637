"""How to open a store in another process: by the name of a function and texts to call it with."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any, NamedTuple

from eskernel.contracts import EventStore

_ADVICE = (
    "a writer in another process must be able to open the store: pass a class or function of an "
    "importable module, or 'module:name', and strings to call it with"
)


class Opening(NamedTuple):
    """Opens one store, in any process.

    Attributes:
        module: where the function is found.
        name: its name there, dotted for a class's own.
        arguments: what it is called with; in each, `{folder}` stands for the store's folder.
    """

    module: str
    name: str
    arguments: tuple[str, ...]

    @classmethod
    def of(cls, function: Callable[..., EventStore] | str, arguments: tuple[str, ...]) -> Opening:
        """Return the opening that calls a function.

        Raises:
            TypeError: another process could not find the function, or an argument is no string.
        """
        if isinstance(function, str):
            module, _, name = function.partition(":")
        else:
            module = getattr(function, "__module__", "__main__")
            name = getattr(function, "__qualname__", "<unnamed>")
        if not name or "<" in name or module == "__main__":
            raise TypeError(f"{_ADVICE}, not {function!r}")
        if strange := [argument for argument in arguments if not isinstance(argument, str)]:
            raise TypeError(f"{_ADVICE}, not {strange[0]!r}")
        return cls(module, name, arguments)

    def within(self, folder: str) -> Opening:
        """Return this opening for the store in a folder."""
        filled = (argument.replace("{folder}", folder) for argument in self.arguments)
        return self._replace(arguments=tuple(filled))

    def find(self) -> Callable[..., Any]:
        """Import the function; the module is imported only here."""
        module: Any = import_module(self.module)
        found: Callable[..., Any] = reduce(getattr, self.name.split("."), module)
        return found

    def __call__(self) -> Any:
        """Open the store."""
        return self.find()(*self.arguments)
