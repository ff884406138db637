"""A channel carries frames, each whole, until either end closes it."""

from __future__ import annotations

import socket
import threading
from collections import deque
from multiprocessing import AuthenticationError

import pytest
from support import eventually, run_threads

from eskernel.processes.channel import KEY_BYTES, Channel
from eskernel.remote.failures import PLAIN
from eskernel.remote.wire import MAX_PARTS, parts_of

KEY = b"k" * KEY_BYTES


@pytest.fixture
def ends():
    channels = [Channel(one) for one in socket.socketpair()]
    yield channels
    for one in channels:
        one.dispose()
        one.dispose()  # again does nothing


class Source:
    """Parts to be sent; `take` is a channel's."""

    def __init__(self):
        self.parts = deque()

    def take(self, most):
        return [self.parts.popleft() for _ in range(min(most, len(self.parts)))]


def test_both_ends_prove_that_they_know_the_key(ends):
    one, other = ends
    run_threads(
        lambda: one.authenticate(KEY, first=True), lambda: other.authenticate(KEY, first=False)
    )
    one.send(b"first")
    assert other.receive() == b"first"


def test_an_end_with_another_key_is_refused(ends):
    one, other = ends
    refused = []

    def prove(end, key, first):
        try:
            end.authenticate(key, first=first)
        except (AuthenticationError, EOFError, OSError) as error:
            refused.append(error)
            end.close()

    run_threads(lambda: prove(one, KEY, True), lambda: prove(other, b"?" * KEY_BYTES, False))
    assert refused


def test_what_is_there_is_sent_in_order_when_the_sender_is_told(ends):
    one, other = ends
    source = Source()
    one.start_sending(source.take, "test-sender")
    numbers = range(3 * MAX_PARTS)
    for number in numbers:
        source.parts.append(PLAIN.pack(number))
        one.tell()
    received = []
    while len(received) < len(numbers):
        frame = parts_of(other.receive())
        assert len(frame) <= MAX_PARTS
        received += frame
    assert received == list(numbers)


def test_threads_may_send_what_there_is_beside_the_sender(ends):
    one, other = ends
    source = Source()
    one.start_sending(source.take, "test-sender")
    numbers = range(2000)
    received = []

    def receive():
        while len(received) < len(numbers):
            received.extend(parts_of(other.receive()))

    def send():
        for number in numbers:
            source.parts.append(PLAIN.pack(number))
            one.flush() if number % 3 else one.tell()

    run_threads(receive, send)
    assert received == list(numbers)


def test_finishing_sends_the_rest_and_then_the_end(ends):
    one, other = ends
    source = Source()
    one.start_sending(source.take, "test-sender")
    source.parts.append(PLAIN.pack("last"))
    one.finish(5)
    assert parts_of(other.receive()) == ["last"]
    with pytest.raises(EOFError):
        other.receive()
    other.send(b"still heard")
    assert one.receive() == b"still heard"


@pytest.mark.parametrize("closing", [0, 1])
def test_closing_wakes_whoever_receives(ends, closing):
    ended = []

    def receive():
        try:
            ends[0].receive()
        except (EOFError, OSError) as error:
            ended.append(error)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    ends[closing].close()
    thread.join(10)
    assert len(ended) == 1


def test_a_sender_that_nobody_hears_ends_when_the_channel_is_closed(ends):
    one, _ = ends
    endless = [b"\xc4\xff" + b"x" * 255] * MAX_PARTS  # more than a socket holds
    one.start_sending(lambda most: endless, "test-sender")
    one.tell()
    one.close()
    one._sender.join(10)
    assert not one._sender.is_alive()


def test_a_sender_whose_other_end_is_gone_closes_the_channel(ends):
    one, other = ends
    source = Source()
    one.start_sending(source.take, "test-sender")
    other.dispose()

    def send():
        source.parts.append(PLAIN.pack("to nobody"))
        one.tell()
        return one._closed

    eventually(send)
    with pytest.raises((EOFError, OSError)):
        while True:
            one.receive()


def test_disposing_from_several_threads_closes_each_descriptor_once(ends):
    for _ in range(20):
        channels = [Channel(one) for one in socket.socketpair()]
        run_threads(*[one.dispose for one in channels for _ in range(3)])


def test_an_abandoned_channel_says_nothing_to_the_other_end(ends):
    one, other = socket.socketpair()
    copy = socket.socket(fileno=socket.dup(one.fileno()))  # as the parent of a forked child has
    Channel(one).abandon()
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    copy.close()
    other.close()
