"""Subjects: any names as tokens of a NATS subject, and back.

A token holds the characters `A-Z a-z 0-9 _ -` as they are and, of any other, `=` and two
hexadecimal digits for each byte of its UTF-8. Where that is longer, it is instead `==` and the
whole name in base64url without padding (RFC 4648, section 5). So every name has one token, and
none is too long: 255 characters take 1362 at most.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from eskernel.errors import NotStorable

LONGEST: Final = 1362
"""Characters of a token: of 255 characters of four bytes each in base64url, and its mark."""

_WHOLE: Final = "=="
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ESCAPED: Final = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+", re.ASCII)
_SPECIAL: Final = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPE: Final = re.compile(rb"=(..)", re.DOTALL)


def to_token(text: str, name: str = "name") -> str:
    """Return the token that stands for a text.

    Args:
        text: without lone surrogates.
        name: what it is, for the error.

    Raises:
        NotStorable: it is too long.
    """
    if _PLAIN.fullmatch(text) and len(text) <= LONGEST:
        return text
    encoded = text.encode()
    escaped = _SPECIAL.sub(_escape, encoded).decode()
    whole = _WHOLE + urlsafe_b64encode(encoded).rstrip(b"=").decode()
    token = escaped if 0 < len(escaped) <= len(whole) else whole
    if len(token) > LONGEST:
        raise NotStorable(name, f"{text[:20]!r}… is too long for a subject: {len(token)} bytes")
    return token


def from_token(token: str) -> str:
    """Return the text a token stands for; raises ValueError if it is none of `to_token`."""
    if _PLAIN.fullmatch(token):
        return token
    if token.startswith(_WHOLE):
        encoded = token[len(_WHOLE) :]
        text = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    elif _ESCAPED.fullmatch(token):
        text = _ESCAPE.sub(_unescape, token.encode()).decode()
    else:
        raise ValueError(f"{token!r} is no token")
    if to_token(text) != token:
        raise ValueError(f"{token!r} is not the token of {text!r}")
    return text


def _escape(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % match[0][0]


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))
