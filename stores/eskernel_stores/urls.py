"""URLs as they may be shown."""

from __future__ import annotations

import re
from typing import Any, Final

_SECRET: Final = re.compile(r"(://[^/@:]*:).*@", re.DOTALL)  # also one with / or @ in it


def shown(url: Any) -> str:
    """Return a URL for a message: without its password, even if it cannot be taken apart."""
    return _SECRET.sub(r"\1***@", repr(url))
