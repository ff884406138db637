"""A module that starts a thread when it is imported, as some drivers do."""

import threading

from crash_stores import LogStore

__all__ = ["LogStore"]

threading.Thread(target=threading.Event().wait, daemon=True).start()
