"""What a kernel is given is looked at before anything starts."""

import pytest
from kernel_helpers import TYPE, Tally, add

from eskernel import Kernel
from eskernel.errors import InvalidDomain
from eskernel_stores import MemoryStore


class WithSelf:
    def init(self):
        return 0

    def handle_command(self, command, state):
        return None

    def apply_event(self, payload, state):
        return state


@pytest.mark.parametrize(
    ("arguments", "options", "advice"),
    [
        (({TYPE: Tally()}, MemoryStore), {}, r"MemoryStore\(\)"),
        (({TYPE: Tally()}, "memory:"), {}, r"open_store\('memory:'\)"),
        (({TYPE: Tally()}, None), {}, "has no append, fold, fold_all, last_position, close"),
        (({TYPE: Tally()}, MemoryStore()), {"snapshot_store": object()}, "has no store, load_lat"),
        (({TYPE: Tally()}, MemoryStore()), {"clock": 5}, "has no time, monotonic"),
        (({TYPE: Tally()}, MemoryStore()), {"middleware": print}, "a list of functions"),
        (({TYPE: Tally()}, MemoryStore()), {"middleware": ["log"]}, "must be functions"),
        ((Tally(), MemoryStore()), {}, "must be a mapping"),
    ],
)
def test_what_does_not_fit_is_refused_at_once_with_advice(arguments, options, advice):
    with pytest.raises(TypeError, match=advice):
        Kernel(*arguments, **options)


def test_middleware_may_come_from_a_generator(start):
    seen = []

    def note(command, call_next):
        seen.append(command.type)
        return call_next(command)

    start(middleware=(one for one in [note])).dispatch(add())
    assert seen == [add().type]


@pytest.mark.parametrize(
    ("domain", "advice"),
    [("bank_account", "pass the module itself"), (WithSelf, "pass an instance")],
)
def test_what_is_no_domain_is_refused_with_advice(domain, advice):
    with pytest.raises(InvalidDomain, match=advice):
        Kernel({"x": domain}, MemoryStore())


def test_types_that_are_no_collection_are_refused():
    domain = Tally()
    domain.types = 5
    with pytest.raises(InvalidDomain, match="`types` must be a tuple"):
        Kernel({TYPE: domain}, MemoryStore())


@pytest.mark.parametrize("timeout", ["1", float("nan"), -1, True])
def test_a_timeout_that_is_none_is_refused_and_harms_nothing(start, timeout):
    kernel = start()
    for call in (
        lambda: kernel.dispatch(add(), timeout=timeout),
        lambda: kernel.state_of(TYPE, "a", timeout=timeout),
        lambda: kernel.stop(timeout),
    ):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            call()
    assert kernel.dispatch(add()).sequence == 1


def test_middleware_that_forgets_to_return_is_told_so(start):
    def forgetful(command, call_next):
        call_next(command)

    kernel = start(middleware=[forgetful])
    with pytest.raises(TypeError, match="end it with `return call_next"):
        kernel.dispatch(add())
    with pytest.raises(TypeError, match="forgetful"):
        kernel.submit(add()).result(5)
