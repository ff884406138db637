"""What eskernel ships for tests: of your domains, your stores and your services."""

from eskernel.testing.clock import ManualClock
from eskernel.testing.decider import BrokenContract, Decider, Outcome, decider

__all__ = ["BrokenContract", "Decider", "ManualClock", "Outcome", "decider"]
