"""In which appends, and in how many durable writes, a copy is written."""

from __future__ import annotations

from copying_samples import Single, append, assert_copied, fill

from eskernel_stores import MemoryStore, copy_store

ACCOUNT = ("bank_account", "acc-1")
OTHER = ("bank_account", "acc-2")


class Probed(MemoryStore):
    """Notes the commits of each write."""

    def __init__(self, types=()):
        super().__init__(types)
        self.writes = []

    def append_batch(self, commits):
        self.writes.append(list(commits))
        return super().append_batch(commits)

    def sizes(self):
        """Return, of each write, how many events each of its commits has."""
        return [[len(commit.events) for commit in commits] for commits in self.writes]


def test_events_that_follow_each_other_become_one_append_of_few_writes():
    source, target = MemoryStore(), Probed()
    for stream_id in (ACCOUNT, ACCOUNT, OTHER, ACCOUNT):
        append(source, stream_id, 1, 2)
    copy_store(source, target)
    assert target.sizes() == [[4, 2, 2]]


def test_a_full_append_ends_before_the_next_command_but_never_within_one():
    source, target = MemoryStore(), Probed()
    append(source, ACCOUNT, *range(7), command_id="c-1")
    append(source, ACCOUNT, 7, command_id="c-2")
    append(source, ACCOUNT, *range(5))
    copy_store(source, target, batch=3)
    assert target.sizes() == [[7], [3], [3]]


def test_one_command_with_more_events_than_memory_should_hold_is_parted_all_the_same():
    source, target = MemoryStore(), Probed()
    append(source, ACCOUNT, *range(40), command_id="c-1")
    copy_store(source, target, batch=1)
    assert target.sizes() == [[16], [16], [8]]


def test_large_payloads_are_written_a_few_at_a_time():
    source, target = MemoryStore(), Probed()
    for number in range(8):
        append(source, ("file", str(number)), bytes(1 << 20), bytes(1 << 20))
    copy_store(source, target)
    assert target.sizes() == [[2, 2]] * 4


def test_a_target_that_appends_one_by_one_will_do():
    source, target = fill(MemoryStore()), Single(MemoryStore())
    copy_store(source, target)
    assert_copied(source, target)
