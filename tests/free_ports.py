"""Ports for servers that are started again and again on the same ones."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_ports(count: int) -> list[int]:
    """Return free ports of 127.0.0.1.

    They are none of those that the system gives to whoever asks for any, so that nobody else gets
    them while their server is down.
    """
    candidates = random.SystemRandom().sample(range(20_000, 32_000), 20 * count)
    return [port for port in candidates if _is_free(port)][:count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
