"""Setup: what a worker must know to run its kernel, in plain values that travel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

from eskernel.actors.aggregate.bound_domain import BoundDomain, unpackers_of
from eskernel.actors.aggregate.limits import Limits
from eskernel.contracts.plugging import check_domains
from eskernel.errors import InvalidDomain, InvalidProjection, NotImportable
from eskernel.projections import Projection
from eskernel.projections.definition import Definition
from eskernel.remote.failures import PLAIN
from eskernel.remote.paths import import_object, importing, path_of
from eskernel.remote.wire import Wire

OPENER: Final = "eskernel_stores:open_store"
"""What opens stores, unless told otherwise: a function of a URL."""

_OF_PROJECTION: Final = tuple(
    one.name for one in fields(Projection) if one.name not in ("module", "store")
)


@dataclass(frozen=True, slots=True)
class Setup:
    """A kernel as another process is to make it; see `eskernel.Kernel` for most of it.

    Attributes:
        domains: from aggregate type to the domain's import path.
        event_store: its URL.
        snapshot_store: its URL, or None.
        checkpoint_store: its URL, or None.
        projections: from name to `[import path, URL of its store or None, options]`.
        middleware: import paths of functions.
        clock: import path of an object, or None.
        opener: import path of the function that opens a URL.
        initializer: import path of a function called in each process before all else, or None.
        options: the kernel's numbers, by name.
    """

    domains: Mapping[str, str]
    event_store: str
    snapshot_store: str | None = None
    checkpoint_store: str | None = None
    projections: Mapping[str, Any] = field(default_factory=dict)
    middleware: tuple[str, ...] = ()
    clock: str | None = None
    opener: str = OPENER
    initializer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        domains: Mapping[str, Any],
        event_store: str,
        snapshot_store: str | None,
        checkpoint_store: str | None,
        projections: Mapping[str, Any],
        middleware: Iterable[Any],
        clock: Any,
        opener: Any,
        initializer: Any,
        limits: Limits,
    ) -> Self:
        """Return the setup for what a user has passed.

        Args:
            domains: modules or import paths, by aggregate type.
            event_store: URL.
            snapshot_store: URL or None.
            checkpoint_store: URL or None.
            projections: modules, import paths, or `Projection`s of these, by name.
            middleware: functions of modules, or import paths.
            clock: an object of a module, an import path, or None.
            opener: a function of a module, or an import path.
            initializer: likewise, or None.
            limits: the kernel's numbers.

        Raises:
            InvalidDomain, InvalidProjection, NotImportable: a module is none, or has no path.
            ValueError: a URL cannot be shared between processes.
            TypeError: something is of the wrong kind.
        """
        check_domains(domains)
        _check_url("event_store", event_store)
        for name, url in (
            ("snapshot_store", snapshot_store),
            ("checkpoint_store", checkpoint_store),
        ):
            if url is not None:
                _check_url(name, url)
        if not isinstance(projections, Mapping):
            raise TypeError(f"projections must be a mapping, not {type(projections).__name__}")
        if isinstance(middleware, str) or not isinstance(middleware, Iterable):
            raise TypeError(f"middleware must be a list of functions, not {middleware!r}")
        setup = cls(
            domains={name: _domain_path(name, domain) for name, domain in domains.items()},
            event_store=event_store,
            snapshot_store=snapshot_store,
            checkpoint_store=checkpoint_store,
            projections={
                name: _projection_fields(name, given) for name, given in projections.items()
            },
            middleware=tuple(path_of(one) for one in middleware),
            clock=None if clock is None else path_of(clock),
            opener=path_of(opener),
            initializer=None if initializer is None else path_of(initializer),
            options=asdict(limits),
        )
        setup._check_sharing()
        return setup

    def urls(self) -> list[str]:
        """Return the URLs of all stores, each once."""
        urls = [self.event_store, self.snapshot_store, self.checkpoint_store]
        urls += [url for _, url, _ in self.projections.values()]
        return list(dict.fromkeys(url for url in urls if url is not None))

    def _check_sharing(self) -> None:
        for name, (_, url, _) in self.projections.items():
            store = url or self.checkpoint_store or self.event_store
            if "memory:" in (store, self.event_store):
                raise InvalidProjection(
                    f"projection {name!r} needs a store that all processes share; with memory: "
                    "each has its own, so name another, such as sqlite:///bank.db"
                )

    def packed(self) -> bytes:
        """Return it as bytes."""
        return PLAIN.pack(asdict(self), "setup")

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """Return what was packed."""
        return cls(**PLAIN.unpack(data))

    def modules(self) -> dict[str, Any]:
        """Return the domains' modules; raises InvalidDomain."""
        return {
            name: importing(f"domain {name!r}", path, InvalidDomain)
            for name, path in self.domains.items()
        }

    def wire(self) -> Wire:
        """Return what packs the commands of these domains.

        Raises:
            InvalidDomain, InvalidProjection: one cannot be imported, or is none.
        """
        domains = {name: BoundDomain(name, domain) for name, domain in self.modules().items()}
        unpackers = unpackers_of(domains)
        projections = {
            name: Definition(
                name, importing(f"projection {name!r}", path, InvalidProjection), unpackers
            ).codec
            for name, (path, _, _) in self.projections.items()
        }
        return Wire(domains, projections)

    def initialize(self) -> None:
        """Call the initializer, if there is one; raises whatever it raises."""
        if self.initializer is not None:
            import_object(self.initializer)()

    def check_imports(self) -> None:
        """Raise NotImportable unless everything else that has a path is there."""
        others: list[tuple[str, str | None]] = [("middleware", path) for path in self.middleware]
        others += [("clock", self.clock), ("opener", self.opener)]
        for role, path in [*others, ("initializer", self.initializer)]:
            if path is not None:
                importing(role, path, NotImportable)


def _check_url(name: str, url: Any) -> None:
    if not isinstance(url, str):
        raise TypeError(f"{name} must be a URL, as each process opens it for itself, not {url!r}")
    if url.startswith("file:"):
        raise ValueError(
            f"{name}: a file: store can be open in one process only; for several, use "
            "sqlite: on one machine, or a server"
        )


def _domain_path(name: Any, domain: Any) -> str:
    try:
        return path_of(domain)
    except NotImportable as error:
        raise InvalidDomain(f"domain {name!r}: {error}") from None


def _projection_fields(name: Any, given: Any) -> list[Any]:
    options = given if isinstance(given, Projection) else Projection(given)
    if options.store is not None:
        _check_url(f"the store of projection {name!r}", options.store)
    try:
        path = path_of(options.module)
    except NotImportable as error:
        raise InvalidProjection(f"projection {name!r}: {error}") from None
    known = {one: getattr(options, one) for one in _OF_PROJECTION}
    return [path, options.store, known]
