"""Opening: from a setup to a kernel that can be started, in the process that runs it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from eskernel.actors.owning.options import ShardLeases
from eskernel.errors import InvalidProjection
from eskernel.kernel import Kernel
from eskernel.projections import Projection
from eskernel.remote.paths import import_object, importing
from eskernel.remote.setup import Setup


class OpenKernel:
    """A kernel of a setup and its stores, which are closed with it.

    Attributes:
        kernel: not started yet.

    Args:
        setup: what to make.
        shard_leases: the kernel's.

    Raises:
        InvalidDomain, InvalidProjection, NotImportable: as the setup.
        ValueError, ModuleNotFoundError, StoreUnavailable, CorruptStore: a store cannot be opened.
    """

    def __init__(self, setup: Setup, shard_leases: ShardLeases | None = None) -> None:
        self._stores: dict[str, Any] = {}
        self._closing = ExitStack()
        self._open = import_object(setup.opener)
        try:
            self.kernel = Kernel(
                setup.modules(),
                self._store(setup.event_store),
                self._store(setup.snapshot_store),
                projections={
                    name: self._projection(name, *given)
                    for name, given in setup.projections.items()
                },
                checkpoint_store=self._store(setup.checkpoint_store),
                middleware=[import_object(path) for path in setup.middleware],
                clock=None if setup.clock is None else import_object(setup.clock),
                **setup.options,
                shard_leases=shard_leases,
            )
        except BaseException:
            self._closing.close()
            raise

    def close(self) -> None:
        """Close the stores."""
        self._closing.close()

    def _store(self, url: str | None) -> Any:
        """Return the store a URL names, each once; None for None."""
        if url is None:
            return None
        if url not in self._stores:
            self._stores[url] = self._open(url)
            self._closing.callback(self._stores[url].close)
        return self._stores[url]

    def _projection(self, name: str, path: str, url: str | None, options: Any) -> Projection:
        module = importing(f"projection {name!r}", path, InvalidProjection)
        return Projection(module, self._store(url), **options)
