"""Subscriptions: following the log of any store."""

from eskernel.subscriptions.feed import Feed

__all__ = ["Feed"]
