"""Documents with entries whose values may be larger than MongoDB's 16 MB; see `documents`."""

from eskernel_stores.mongo.large.documents import (
    INLINE,
    TOGETHER,
    LargeDocuments,
    Parts,
)
from eskernel_stores.mongo.large.failures import Missing, TooLarge
from eskernel_stores.mongo.large.values import Large

__all__ = ["INLINE", "TOGETHER", "Large", "LargeDocuments", "Missing", "Parts", "TooLarge"]
