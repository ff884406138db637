"""Verified copy: a whole store moved between any two backends, and proved to be the same."""

from eskernel_stores.copying.copier import CopyReport, copy_store

__all__ = ["CopyReport", "copy_store"]
