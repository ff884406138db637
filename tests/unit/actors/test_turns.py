import pytest
from support import run_threads

from eskernel.actors.aggregate.replies import WaitedReply
from eskernel.actors.aggregate.turns import Turn, Turns


class Replies:
    """Records what each reply was given; a hook may run inside."""

    quick = False

    def __init__(self, log, name, during=lambda: None):
        self.log, self.name, self.during = log, name, during

    def claim(self):
        return True

    def resolve(self, outcome):
        self.log.append((self.name, outcome))
        self.during()


def test_each_thread_has_a_turn_of_its_own():
    turns, seen = Turns(), []
    run_threads(*[lambda: seen.append((turns.mine, turns.mine))] * 8)
    assert all(first is again for first, again in seen)
    assert len({id(first) for first, _ in seen}) == 8
    assert all(turn is not turns.mine for turn, _ in seen)


def test_a_new_turn_runs_nothing_and_owes_nothing():
    turn = Turn()
    assert not turn.running
    assert turn.message is None
    assert not turn.answers


def test_answers_are_given_in_order_and_once():
    turn, log = Turn(), []
    turn.answers += [(Replies(log, name), number) for number, name in enumerate("abc")]
    turn.give_answers()
    turn.give_answers()
    assert log == [("a", 0), ("b", 1), ("c", 2)]


def test_an_answer_added_while_answering_is_given_too():
    turn, log = Turn(), []
    last = (Replies(log, "last"), 2)
    turn.answers.append((Replies(log, "first", lambda: turn.answers.append(last)), 1))
    turn.give_answers()
    assert log == [("first", 1), ("last", 2)]


def test_a_callback_that_gives_answers_itself_loses_none():
    turn, log = Turn(), []
    calls = []

    def again():
        if len(calls) < 3:
            calls.append(1)
            turn.give_answers()

    turn.answers += [(Replies(log, "a", again), 1), (Replies(log, "b", again), 2)]
    turn.give_answers()
    assert not turn.answers
    assert {name for name, _ in log} == {"a", "b"}


def test_an_interrupted_answer_is_given_again():
    turn, log = Turn(), []
    interruptions = [KeyboardInterrupt()]

    def interrupt():
        if interruptions:
            raise interruptions.pop()

    turn.answers += [(Replies(log, "a", interrupt), 1), (Replies(log, "b"), 2)]
    with pytest.raises(KeyboardInterrupt):
        turn.give_answers()
    turn.give_answers()
    assert log == [("a", 1), ("a", 1), ("b", 2)]
    assert not turn.answers


def test_only_quick_answers_are_given_where_somebody_else_can_give_the_others():
    turn, log, passed_on = Turn(), [], []
    waited = WaitedReply()
    turn.answers += [(Replies(log, "a"), 1), (waited, 2)]
    turn.give_answers(passed_on.append)
    assert not turn.answers
    assert log == []
    assert waited.wait(0)
    passed_on[0]()
    assert log == [("a", 1)]


def test_the_waiting_thread_wakes_although_the_answer_is_repeated():
    turn, reply = Turn(), WaitedReply()
    turn.answers += [(reply, 1), (reply, 1)]
    turn.give_answers()
    assert reply.wait(0)
    assert reply.outcome == 1


def test_ownership_is_given_to_one_thread_at_a_time():
    turns, owners, actor = Turns(), {}, object()
    inside, most, taken = [], [], []

    def work():
        turn = turns.mine
        for _ in range(2000):
            if owners.setdefault(actor, turn) is turn:
                inside.append(turn)
                most.append(len(inside))
                inside.remove(turn)
                taken.append(turn)
                del owners[actor]

    run_threads(*[work] * 4)
    assert set(most) == {1}
    assert taken
    assert not owners
