"""Middleware: code around every command, for logging, metrics, authorisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from eskernel.values import Accepted, Command

CallNext: TypeAlias = Callable[[Command], Accepted]

Middleware: TypeAlias = Callable[[Command, CallNext], Accepted]
"""`middleware(command, call_next)` returns what `call_next(command)` returns, or raises.

It may pass on another command, or none. The first of a kernel's middleware is the outermost.
"""
