"""Names of aggregates: 1 to 255 characters, any but NUL and lone surrogates."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eskernel.errors import InvalidCommand
from eskernel.values import check_identifier


@given(st.text(min_size=1, max_size=255).filter(lambda text: "\0" not in text))
@settings(deadline=None)
def test_any_other_text_is_fine(text):
    assert check_identifier("aggregate id", text) is text


@pytest.mark.parametrize("text", ["a", "x" * 255, "😀" * 255, " ", "a/b:c\n", "é"])
def test_length_counts_characters_not_bytes(text):
    assert check_identifier("aggregate id", text) is text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "must have 1 to 255 characters, not 0"),
        ("x" * 256, "must have 1 to 255 characters, not 256"),
        ("a\0b", "must not contain NUL"),
        ("\0", "must not contain NUL"),
        ("a\ud800", "must not contain lone surrogates"),
        ("\udfff", "must not contain lone surrogates"),
        (None, "must be a string, not NoneType"),
        (b"a", "must be a string, not bytes"),
        (1, "must be a string, not int"),
    ],
)
def test_anything_else_is_refused_by_name(value, problem):
    with pytest.raises(InvalidCommand) as caught:
        check_identifier("aggregate id", value)
    assert str(caught.value).startswith("aggregate id ")
    assert problem in str(caught.value)
