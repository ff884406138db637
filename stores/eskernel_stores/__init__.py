"""Event and snapshot stores for eskernel, one module per backend."""

from eskernel_stores.copying import CopyReport, copy_store
from eskernel_stores.memory import MemoryStore
from eskernel_stores.opening import open_store

__all__ = ["CopyReport", "MemoryStore", "copy_store", "open_store"]
