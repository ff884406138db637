"""Exceptions that arrive at a chosen point of whatever the calling thread does.

CPython 3.11 delivers an asynchronous exception only where it looks at its eval breaker: after a
call of a C function, on entry of a Python function, and at a jump backwards.
"""

from __future__ import annotations

import dis
import sys

import pytest

on_cpython_3_11 = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="knows CPython 3.11's bytecode"
)


class Interrupted(BaseException):
    """What arrives."""


_TRACED = ("/eskernel/", "/eskernel_stores/", "/threading.py", "/pykka/", "/concurrent/futures/")
_instructions: dict = {}
_handlers: dict = {}


def _opcode(code, offset):
    table = _instructions.get(code)
    if table is None:
        table = {one.offset: one.opname for one in dis.get_instructions(code)}
        _instructions[code] = table
        _handlers[code] = dis._parse_exception_table(code)
    return table.get(offset, "")


def _handler(code, offset):
    return next((e.target for e in _handlers[code] if e.start <= offset < e.end), None)


class Interrupter:
    """Raises Interrupted at the n-th point of the calling thread where CPython could."""

    def __init__(self, n):
        self.left = n
        self._tracer = None
        self.where = None
        self._before: dict = {}
        self._called: set = set()

    def __enter__(self):
        self._tracer = sys.gettrace()  # coverage's, perhaps
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *_):
        sys.settrace(self._tracer)
        return False

    def _on_call(self, frame, _event, _arg):
        caller = frame.f_back
        if caller is not None and frame.f_code.co_name not in {"__init__", "__new__"}:
            self._called.add(id(caller))
        self._before.pop(id(frame), None)
        self._called.discard(id(frame))
        if not any(part in frame.f_code.co_filename for part in _TRACED):
            return None
        frame.f_trace_opcodes = True
        return self._on_event

    def _on_event(self, frame, event, _arg):
        if event != "opcode" or self.where is not None:
            return self._on_event
        code, key, offset = frame.f_code, id(frame), frame.f_lasti
        before = self._before.get(key)
        self._before[key] = offset
        called = key in self._called
        self._called.discard(key)
        if before is not None:
            name = _opcode(code, before)
            looked = "JUMP_BACKWARD" in name or (
                name in {"CALL", "CALL_FUNCTION_EX"} and not called
            )
            _opcode(code, offset)
            if not looked or _handler(code, before) != _handler(code, offset):
                return self._on_event
        if self.left:
            self.left -= 1
            return self._on_event
        self.where = f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}"
        raise Interrupted(self.where)
