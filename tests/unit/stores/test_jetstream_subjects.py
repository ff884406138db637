"""Every name is a token of a subject, and every token is one name's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eskernel.errors import NotStorable
from eskernel_stores.jetstream.subjects import LONGEST, from_token, to_token

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=255)
MOST_CONTROL_LINE = 4096


@given(NAMES)
def test_a_name_comes_back_from_its_token(name):
    assert from_token(to_token(name)) == name


@given(NAMES)
def test_a_token_is_what_a_subject_may_hold(name):
    token = to_token(name)
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", token)
    assert len(token) <= LONGEST


@given(NAMES, NAMES)
def test_names_do_not_share_a_token(one, other):
    assert (to_token(one) == to_token(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("", "=="),
        ("acc-1_A", "acc-1_A"),
        ("a.b", "a=2Eb"),
        ("é", "==w6k"),
        ("account é", "account=20=C3=A9"),
        ("*", "=2A"),
        (">", "=3E"),
        ("=", "=3D"),
        ("==", "==PT0"),
    ],
)
def test_tokens_are_as_short_as_can_be(name, token):
    assert to_token(name) == token


def test_the_longest_names_leave_room_in_the_servers_line():
    longest = "\U0001f600" * 255
    assert len(to_token(longest)) == LONGEST
    subject = f"{'n' * 64}.events.{to_token(longest)}.{to_token(longest)}"
    assert len(subject) + 512 < MOST_CONTROL_LINE


def test_a_name_that_is_too_long_is_refused_by_its_own_name():
    with pytest.raises(NotStorable, match=r"aggregate_id: 'xxx.* too long") as refused:
        to_token("x" * (LONGEST + 1), "aggregate_id")
    assert refused.value.path == "aggregate_id"


@pytest.mark.parametrize(
    "token", ["", "a.b", "=2", "=2e", "=41", "==YQ", "==YQ=", "==!", "=FF", "==_w", "a b", "*", "é"]
)
def test_what_no_name_has_as_a_token_is_refused(token):
    with pytest.raises(ValueError):
        from_token(token)
