"""Fixtures of the kernel's tests."""

from __future__ import annotations

import pytest
from kernel_helpers import TYPE, ProbedStore, Tally
from structlog.testing import capture_logs

from eskernel import Kernel


@pytest.fixture(params=["immediate", "deferred"])
def store(request):
    """A store that appends at once, and one that is written by the committer."""
    return ProbedStore(immediate=request.param == "immediate")


@pytest.fixture
def domain():
    return Tally()


@pytest.fixture
def start(domain, store):
    """Starts kernels with the test's domain and store; each must stop in time."""
    kernels = []

    def start(**options):
        domains = options.pop("domains", {TYPE: domain})
        kernel = Kernel(domains, options.pop("event_store", store), **options).start()
        kernels.append(kernel)
        return kernel

    with capture_logs():  # the crashes wanted here have long tracebacks
        yield start
    for kernel in kernels:
        assert kernel.stop(timeout=10)
