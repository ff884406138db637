"""Every guarantee of a FencingEventStore is missed when a store breaks it."""

import broken_fencing as broken
import broken_fencing_leases as broken_leases
import pytest
from test_suite_catches_broken_stores import _broken

from eskernel.contracts import FencingEventStore
from eskernel.testing import check_event_store, check_fencing_store, fencing_store_checks
from eskernel.testing.conformance.checking import run
from eskernel_stores import MemoryStore

CASES = [
    (broken.RefusesEverything, "an append under the newest epoch is stored"),
    (broken.Forgets, "an append under an older epoch stores nothing"),
    (broken.ChecksTheLastOnly, "an append under an older epoch stores nothing"),
    (broken.RefusesAfterStoring, "an append under an older epoch stores nothing"),
    (broken.AdmitsLargerEpochs, "an epoch that nobody was given stores nothing"),
    (broken.WantsALeaseThatIsValid, "a lease counts until another has it"),
    (broken.Forgets, "a lease counts until another has it"),
    (broken.RefusesWhatWasStored, "an append sent again is a success under any epoch"),
    (broken.TakesAPlaceForTheAppend, "an append sent again is a success under any epoch"),
    (broken.FailsTheWholeBatch, "a stale commit does not fail its neighbours"),
    (broken.TakesTheBatchsFirstFence, "a stale commit does not fail its neighbours"),
    (broken.LetsBrokenChainsGoOn, "a chain breaks at a stale commit"),
    (broken.ConflictsFirst, "a stale epoch comes before a conflict"),
    (broken.IgnoresCaseOfFences, "fences of any names stay apart"),
    (broken.FailsAllForAnUnfitName, "fences of any names stay apart"),
    (
        broken.ChecksBeforeItWrites,
        "nothing is appended under an epoch once another has the lease",
    ),
    (
        broken.FencesWhenItLooksAgain,
        "nothing is appended under an epoch once another has the lease",
    ),
    (broken.ChecksBeforeItWrites, "epochs never fall in the log"),
    (broken_leases.GivesNewEpochsToAll, "many leases are taken at once"),
    (broken_leases.TakesAllOrNone, "whoever comes second gets what is left"),
    (broken_leases.AnswersInOrderOfNames, "whoever comes second gets what is left"),
    (broken_leases.GivesBackWhatIsOthers, "leases given back together are free"),
    (broken_leases.AnswersInOrderOfNames, "leases of any names are taken at once"),
    (broken_leases.TakesAnySeconds, "leases for a time that is none are refused"),
    (broken_leases.BreaksByClosing, "a closed store gives no leases"),
    (broken_leases.TakesLeasesOneByOne, "of owners who ask for many names at once each gets some"),
    (
        broken_leases.KeepsShardsApartFromLeases,
        "leases are the same whether taken alone or together",
    ),
]
DURABLE = ["fences outlive closing"]


@pytest.mark.parametrize(("store", "guarantee"), CASES)
def test_the_suite_names_what_a_broken_fencing_store_breaks(store, guarantee):
    (check,) = [check for check in fencing_store_checks() if check.name == guarantee]
    assert _broken(run, [check], store, None) == [guarantee]


def test_a_store_that_forgets_fences_on_closing_is_not_durable():
    def reopen(store):
        store.close()
        return broken.Fencing()

    assert _broken(check_fencing_store, broken.Fencing, reopen=reopen) == DURABLE


def test_every_guarantee_of_fences_is_broken_by_some_store():
    caught = {guarantee for _, guarantee in CASES} | {*DURABLE}
    assert caught == {check.name for check in fencing_store_checks()}


def test_a_store_in_memory_that_fences_passes():
    names = check_fencing_store(broken.Fencing, reopen=lambda store: store)
    assert names == [check.name for check in fencing_store_checks()]
    assert "append ids outlive closing" in check_event_store(
        broken.Fencing, reopen=lambda store: store
    )
    assert isinstance(broken.Fencing(), FencingEventStore)


def test_a_memory_store_fences_nothing_and_says_why():
    assert not isinstance(MemoryStore(), FencingEventStore)
    assert "process" in MemoryStore.cannot_fence
