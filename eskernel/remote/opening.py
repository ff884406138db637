"""Opening: from a setup to a kernel that can be started, in the process that runs it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

from eskernel.actors.owning.options import ShardLeases
from eskernel.errors import InvalidProjection
from eskernel.kernel import Kernel
from eskernel.projections import Projection
from eskernel.remote.paths import import_object, importing
from eskernel.remote.setup import Setup
from eskernel.remote.wire import Wire


class OpenStores:
    """The stores of a setup, each opened once.

    Args:
        setup: names them.

    Raises:
        NotImportable: there is no such opener.
        ValueError, ModuleNotFoundError, StoreUnavailable, CorruptStore: a store cannot be opened.
    """

    def __init__(self, setup: Setup) -> None:
        self._stores: dict[str, Any] = {}
        self._closing = ExitStack()
        open_store = import_object(setup.opener)
        try:
            for url in setup.urls():
                self._stores[url] = self._closing.enter_context(closing(open_store(url)))
        except BaseException:
            self.close()
            raise

    def store(self, url: str | None) -> Any:
        """Return the store of a URL; None for None."""
        return None if url is None else self._stores[url]

    def close(self) -> None:
        """Close them."""
        self._closing.close()


def prepared(setup: Setup) -> tuple[Wire, OpenStores]:
    """Import everything and open the stores.

    Raises:
        InvalidDomain, InvalidProjection, NotImportable: something cannot be imported.
        ValueError, ModuleNotFoundError, StoreUnavailable, CorruptStore: a store cannot be opened.
    """
    setup.check_imports()
    return setup.wire(), OpenStores(setup)


class OpenKernel:
    """A kernel of a setup and its stores, which are closed with it, and if it cannot be made.

    Attributes:
        kernel: not started yet.

    Args:
        setup: what to make.
        stores: of the setup.
        shard_leases: the kernel's.

    Raises:
        InvalidDomain, InvalidProjection, NotImportable: as the setup.
        ValueError, TypeError: the kernel's.
    """

    def __init__(
        self, setup: Setup, stores: OpenStores, shard_leases: ShardLeases | None = None
    ) -> None:
        self._stores = stores
        store = stores.store
        try:
            self.kernel = Kernel(
                setup.modules(),
                store(setup.event_store),
                store(setup.snapshot_store),
                projections={
                    name: self._projection(name, *given)
                    for name, given in setup.projections.items()
                },
                checkpoint_store=store(setup.checkpoint_store),
                middleware=[import_object(path) for path in setup.middleware],
                clock=None if setup.clock is None else import_object(setup.clock),
                **setup.options,
                shard_leases=shard_leases,
            )
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the kernel; if that fails, close the stores."""
        try:
            self.kernel.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the stores."""
        self._stores.close()

    def _projection(self, name: str, path: str, url: str | None, options: Any) -> Projection:
        module = importing(f"projection {name!r}", path, InvalidProjection)
        return Projection(module, self._stores.store(url), **options)
