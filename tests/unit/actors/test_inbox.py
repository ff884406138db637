import threading
import time
from queue import Empty

import pykka
import pytest
from pykka._envelope import Envelope
from support import run_threads

from eskernel.actors.supervision import Exit, Inbox, SupervisedActor, watch

REF = SupervisedActor().actor_ref
EXIT = Exit(REF, None)


def asked(message="a question"):
    return Envelope(message, reply_to=pykka.ThreadingFuture())


def test_messages_come_out_in_the_order_they_went_in():
    inbox = Inbox()
    assert inbox.empty()
    for number in range(5):
        inbox.put(Envelope(number))
    assert inbox.qsize() == 5
    assert not inbox.empty()
    assert [inbox.get().message for _ in range(5)] == list(range(5))
    assert inbox.empty()


def test_get_waits_for_a_message():
    inbox = Inbox()
    timer = threading.Timer(0.02, lambda: inbox.put(Envelope("late")))
    timer.start()
    assert inbox.get(timeout=5).message == "late"
    timer.join()


def test_get_gives_up_after_its_timeout():
    inbox = Inbox()
    before = time.monotonic()
    with pytest.raises(Empty):
        inbox.get(timeout=0.05)
    assert time.monotonic() - before >= 0.04


def test_get_without_blocking_gives_up_at_once():
    with pytest.raises(Empty):
        Inbox().get(block=False)


def test_a_message_after_the_end_is_refused_at_once():
    inbox = Inbox()
    inbox.close(EXIT)
    envelope = asked()
    inbox.put(envelope)
    assert inbox.empty()
    with pytest.raises(pykka.ActorDeadError):
        envelope.reply_to.get(timeout=0)


def test_a_message_nobody_waits_for_disappears_after_the_end():
    inbox = Inbox()
    inbox.close(EXIT)
    inbox.put(Envelope("told"))
    assert inbox.empty()


def test_closing_hands_over_what_was_waiting_only_once():
    inbox = Inbox()
    envelope = asked()
    inbox.put(envelope)
    inbox.watch(print)
    assert inbox.close(EXIT) == ([envelope], [print])
    assert inbox.close(EXIT) == ([], [])
    assert inbox.empty()


def test_watching_after_the_end_calls_at_once_and_with_the_first_exit():
    inbox, heard = Inbox(), []
    first = Exit(REF, ValueError("first"))
    inbox.close(first)
    inbox.close(EXIT)
    inbox.watch(heard.append)
    assert heard == [first]


def test_every_message_is_either_handed_over_or_refused_while_the_inbox_closes():
    for _ in range(200):
        inbox = Inbox()
        envelopes = [asked(number) for number in range(40)]
        left = []

        def put(some, inbox=inbox):
            for envelope in some:
                inbox.put(envelope)

        def close(inbox=inbox, left=left):
            left.extend(inbox.close(EXIT)[0])

        run_threads(lambda: put(envelopes[:20]), lambda: put(envelopes[20:]), close)  # noqa: B023
        handed_over = {envelope.message for envelope in left}
        for envelope in envelopes:
            if envelope.message in handed_over:
                with pytest.raises(pykka.Timeout):
                    envelope.reply_to.get(timeout=0)
            else:
                with pytest.raises(pykka.ActorDeadError):
                    envelope.reply_to.get(timeout=0)
        assert inbox.empty()


def test_every_watcher_is_called_exactly_once_while_the_inbox_closes():
    for _ in range(200):
        inbox, heard = Inbox(), []

        def observe(number, inbox=inbox, heard=heard):
            inbox.watch(lambda _exit: heard.append(number))

        def close(inbox=inbox):
            for watcher in inbox.close(EXIT)[1]:
                watcher(EXIT)

        run_threads(*[lambda number=number: observe(number) for number in range(4)], close)
        assert sorted(heard) == [0, 1, 2, 3]


def test_only_supervised_actors_can_be_watched():
    class Plain(pykka.ThreadingActor):
        pass

    with pytest.raises(AssertionError, match="is not a SupervisedActor"):
        watch(Plain().actor_ref, print)


class Hooked:
    """A lock around which something else happens first, or right after."""

    def __init__(self, inbox, before=None, after=None):
        self.inbox, self.lock = inbox, inbox._lock
        self.before, self.after = before, after
        inbox._lock = self

    def __enter__(self):
        if self.before:
            self.inbox._lock = self.lock
            self.before()
        return self.lock.__enter__()

    def __exit__(self, *exc_info):
        self.lock.__exit__(*exc_info)
        if self.after:
            self.inbox._lock = self.lock
            self.after()


def test_a_message_whose_actor_ends_just_before_it_is_queued_is_refused():
    inbox, envelope = Inbox(), asked()
    Hooked(inbox, before=lambda: inbox.close(EXIT))
    inbox.put(envelope)
    assert inbox.empty()
    with pytest.raises(pykka.ActorDeadError):
        envelope.reply_to.get(timeout=0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_watcher_whose_actor_ends_just_before_or_after_it_is_noted_is_called_once(moment):
    inbox, heard = Inbox(), []

    def close():
        for watcher in inbox.close(EXIT)[1]:
            watcher(EXIT)

    Hooked(inbox, **{moment: close})
    inbox.watch(heard.append)
    assert heard == [EXIT]
