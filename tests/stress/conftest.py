import sys

import pytest


@pytest.fixture
def restored_switches():
    """Undo whatever the test does to the interval at which threads switch."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def quick_switches(restored_switches):
    """Have threads switch a hundred times as often as usual."""
    sys.setswitchinterval(5e-5)
