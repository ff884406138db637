"""Heads: the newest end seen of each stream, of so many streams and no more."""

from eskernel_stores.heads import Head, Heads


def stream(name):
    return ("t", name)


def test_an_unseen_stream_has_none():
    assert Heads().get(stream("a")) is None


def test_the_later_of_two_ends_stays_whichever_comes_last():
    heads = Heads()
    for sequences in ([3, 5], [4], [7, 6]):
        heads.put((stream("a"), Head(sequence, 10 * sequence)) for sequence in sequences)
    assert heads.get(stream("a")) == Head(7, 70)


def test_the_least_recently_used_are_forgotten():
    heads = Heads(kept=3)
    heads.put((stream(name), Head(1, 1)) for name in "abc")
    heads.get(stream("a"))
    heads.put([(stream("b"), Head(2, 2))])
    heads.put([(stream("d"), Head(1, 1))])
    found = {name: heads.get(stream(name)) for name in "abcd"}
    assert found == {"a": Head(1, 1), "b": Head(2, 2), "c": None, "d": Head(1, 1)}
