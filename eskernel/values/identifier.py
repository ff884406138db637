"""Aggregate types and ids: short strings that every store can keep as they are."""

from __future__ import annotations

from typing import Any

from eskernel.errors import InvalidCommand

StreamId = tuple[str, str]
"""`(aggregate_type, aggregate_id)`."""

MAX_LENGTH = 255


def check_identifier(name: str, value: Any) -> str:
    """Return `value` if it may name an aggregate type or an aggregate.

    Args:
        name: what the value is, for the error message.
        value: 1 to 255 characters, any but NUL and lone surrogates.

    Raises:
        InvalidCommand: it is anything else.
    """
    if not isinstance(value, str):
        raise InvalidCommand(f"{name} must be a string, not {type(value).__name__}")
    if not 1 <= len(value) <= MAX_LENGTH:
        raise InvalidCommand(f"{name} must have 1 to {MAX_LENGTH} characters, not {len(value)}")
    if "\0" in value:
        raise InvalidCommand(f"{name} {value!r} must not contain NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidCommand(f"{name} {value!r} must not contain lone surrogates") from None
    return value
