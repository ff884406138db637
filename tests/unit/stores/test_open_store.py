"""From a URL to a store."""

import pytest

from eskernel_stores import MemoryStore, open_store


def test_memory_opens_a_new_empty_store_each_time():
    first, second = open_store("memory:"), open_store("memory:")
    assert type(first) is MemoryStore
    assert first is not second
    assert first.last_position() == 0


@pytest.mark.parametrize("url", ["", "bank.db", "memor:", "unheard-of:///of", None, 7, b"memory:"])
def test_what_names_no_store_is_refused_with_what_is_allowed(url):
    with pytest.raises(ValueError, match=r"allowed: .*memory:") as caught:
        open_store(url)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize("url", ["memory:bank", "memory://host/bank", "memory:?size=1"])
def test_a_memory_url_that_says_more_is_refused(url):
    with pytest.raises(ValueError, match="says more"):
        open_store(url)
