"""Batches of appends: what is common to the stores that write many in one durable write."""

from eskernel_stores.batching.batch import Batch, HasRoom, Outcome, Writer
from eskernel_stores.batching.prepared import Form, Join, Prepared
from eskernel_stores.batching.round import Round, Written

__all__ = ["Batch", "Form", "HasRoom", "Join", "Outcome", "Prepared", "Round", "Writer", "Written"]
