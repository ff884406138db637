"""Subscriptions: following the log of any store."""

from eskernel.subscriptions.durable import DurableFeed
from eskernel.subscriptions.feed import Feed

__all__ = ["DurableFeed", "Feed"]
