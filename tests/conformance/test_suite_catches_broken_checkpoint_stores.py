"""Every guarantee of a CheckpointStore is missed when a store breaks it."""

import broken_checkpoints as broken
import broken_leases
import pytest
from test_suite_catches_broken_stores import _broken

from eskernel.testing import check_checkpoint_store, checkpoint_store_checks
from eskernel.testing.conformance import leases
from eskernel.testing.conformance.checking import run
from eskernel_stores import MemoryStore

CASES = [
    (broken.HasAnEmptyCheckpoint, "a name without checkpoints has none"),
    (broken.ForgetsNotes, "checkpoints come back exactly"),
    (broken.KeepsTheCheckpointsOwnEpoch, "checkpoints come back exactly"),
    (broken.CutsLargeStates, "a large checkpoint comes back"),
    (broken.IgnoresCase, "checkpoints of any names stay apart"),
    (broken.RunsNameAndSlotTogether, "checkpoints of any names stay apart"),
    (broken.KeepsTheLargestPosition, "a checkpoint is replaced also by one behind it"),
    (broken.DropsOtherSlots, "other slots and names stay as they are"),
    (broken.LiftsTheEpochOfAllSlots, "other slots and names stay as they are"),
    (broken.NeverEmptiesASlot, "an emptied slot is filled again"),
    (broken.SharesTheMapping, "slots handed in are not shared"),
    (broken.AcceptsSmallerEpochs, "a save under a smaller epoch stores nothing"),
    (broken.StoresBeforeItChecks, "a save under a smaller epoch stores nothing"),
    (broken.SaysNoNumbers, "a save under a smaller epoch stores nothing"),
    (broken.ComparesEpochsAsText, "a save under the same or a larger epoch is stored"),
    (broken.RefusesTheSameEpoch, "a save under the same or a larger epoch is stored"),
    (broken.KnowsEpochsByCheckpoints, "an epoch is remembered without checkpoints"),
    (broken.IgnoresEpochsOfLeases, "a lease taken over fences who held it"),
    (broken_leases.TakesOverUnderTheSameEpoch, "a lease taken over fences who held it"),
    (broken_leases.ForgetsEpochsGivenBack, "a lease given back still fences those before it"),
    (broken_leases.CountsLeasesOnly, "a new lease has a larger epoch than any save"),
    (broken_leases.CountsEpochsFromZero, "the first who asks gets the lease"),
    (broken_leases.LetsTwoHoldALease, "whoever finds another there is told whom"),
    (broken_leases.ExtendsALeaseForOthers, "whoever finds another there is told whom"),
    (broken_leases.GivesNewEpochsAtRenewal, "renewing keeps the epoch"),
    (broken_leases.NeverShortensALease, "renewing keeps the epoch"),
    (broken_leases.LetsLeasesRunOutEarly, "a lease that ran out is taken over"),
    (broken_leases.TakesOverUnderTheSameEpoch, "a lease that ran out is taken over"),
    (
        broken_leases.LateGetsNewEpochs,
        "who still holds a lease that ran out keeps its epoch",
    ),
    (broken_leases.NeverLetsALeaseRunOut, "a lease of no seconds may be taken at once"),
    (broken_leases.ForgetsEpochsGivenBack, "a lease given back is free"),
    (broken_leases.LetsAnybodyGiveBack, "only its owner gives a lease back"),
    (broken_leases.StripsOwners, "leases of any names and owners stay apart"),
    (broken_leases.TakesAnySeconds, "a time that is none is refused"),
    (broken.SavesSlotsOneByOne, "slots saved together are seen together"),
    (broken.ReadsThenWrites, "threads that save slots of their own lose none"),
    (broken.ChecksEpochsBeforeItLocks, "a smaller epoch never overwrites a larger"),
    (broken_leases.LooksAtLeasesBeforeItTakesThem, "of those who ask at once one gets the lease"),
    (broken_leases.LooksAtLeasesBeforeItTakesThem, "an epoch is one owners"),
    (broken.BreaksByClosing, "a closed store says that it is unavailable"),
    (
        broken.RefusesWhatIsAheadOfTheLog,
        "neither checkpoints nor events nor snapshots know of the others",
    ),
]
DURABLE = [
    "checkpoints outlive closing",
    "epochs outlive closing",
    "what was saved until closing is stored",
]


@pytest.mark.parametrize(("store", "guarantee"), CASES)
def test_the_suite_names_what_a_broken_checkpoint_store_breaks(store, guarantee):
    (check,) = [check for check in checkpoint_store_checks() if check.name == guarantee]
    assert _broken(run, [check], store, None) == [guarantee]


def test_a_lease_that_never_runs_out_is_found_out_in_the_end(monkeypatch):
    monkeypatch.setattr(leases, "DEADLINE", 0.3)
    store = broken_leases.NeverLetsALeaseRunOut
    assert "a lease that ran out is taken over" in _broken(check_checkpoint_store, store)


def test_a_store_that_forgets_checkpoints_on_closing_is_not_durable():
    def reopen(store):
        store.close()
        return MemoryStore()

    assert _broken(check_checkpoint_store, MemoryStore, reopen=reopen) == DURABLE


def test_every_guarantee_of_checkpoints_is_broken_by_some_store():
    caught = {guarantee for _, guarantee in CASES} | {*DURABLE}
    assert caught == {check.name for check in checkpoint_store_checks()}
