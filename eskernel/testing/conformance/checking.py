"""Checks: one guarantee each, run against a store of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

S = TypeVar("S")

Factory = Callable[[], S]
"""Returns a new, empty store."""

Reopen = Callable[[S], S]
"""Closes a store and returns another one of the same data."""


class BrokenGuarantee(AssertionError):
    """The store does not keep a promise; `__cause__` tells where it was found out.

    Attributes:
        guarantee: the promise, the name of a check.
    """

    def __init__(self, guarantee: str, error: Exception) -> None:
        super().__init__(f"{guarantee}: {type(error).__name__}: {error}")
        self.guarantee = guarantee
        self.__cause__ = error


class BrokenGuarantees(ExceptionGroup[BrokenGuarantee], AssertionError):
    """Everything a store promises and does not keep; `exceptions` holds one error for each."""


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """One guarantee of a store, as something to call.

    Attributes:
        function: the check itself; its name is the guarantee, its docstring says more.
        needs: what must be there for the check to apply: a store with `append_batch` or, of
            snapshots, with `append`, or, of fences, with `acquire_lease`; one that is `immediate`;
            or a function `reopen`.
    """

    function: Callable[..., None]
    needs: Literal["acquire_lease", "append", "append_batch", "immediate", "reopen"] | None = None

    @property
    def __name__(self) -> str:
        return self.function.__name__

    @property
    def name(self) -> str:
        """The guarantee, as a sentence."""
        return self.__name__.replace("_", " ")

    def __call__(self, factory: Factory[S], reopen: Reopen[S] | None = None) -> bool:
        """Check a new store, and close it.

        Args:
            factory: returns a new, empty store.
            reopen: closes a store and returns another of the same data; None if the store does
                not outlive its closing.

        Returns:
            Whether the check applies to such a store; if not, nothing was checked.

        Raises:
            AssertionError: the store does not keep the guarantee.
        """
        if self.needs == "reopen" and reopen is None:
            return False
        opened = [factory()]

        def open_again(store: S) -> S:
            opened.append(reopen(store))  # type: ignore[misc]  # None was dealt with above
            return opened[-1]

        try:
            if self.needs not in (None, "reopen") and not getattr(opened[0], self.needs, None):
                return False
            self.function(opened[0], *([open_again] if self.needs == "reopen" else []))
            return True
        finally:
            close: Callable[[], Any] = getattr(opened[-1], "close", lambda: None)
            close()


def run(checks: Iterable[Check[S]], factory: Factory[S], reopen: Reopen[S] | None) -> list[str]:
    """Run every check, whatever the others say.

    Returns:
        The names of those that apply, all of which were kept.

    Raises:
        BrokenGuarantees: some were not.
        TypeError: `factory` is no function.
    """
    if not callable(factory):
        raise TypeError(
            "pass a function that returns a new, empty store, for example its class, "
            f"not {factory!r}"
        )
    kept: list[str] = []
    broken: list[BrokenGuarantee] = []
    for check in checks:
        try:
            if check(factory, reopen):
                kept.append(check.name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the guarantee is not kept
            broken.append(BrokenGuarantee(check.name, error))
    if broken:
        listed = "".join(f"\n- {error}" for error in broken)
        raise BrokenGuarantees(f"the store breaks these guarantees:{listed}\n", broken)
    return kept
