"""Batches of appends: what is common to the stores that write many in one durable write."""

from eskernel_stores.batching.batch import Batch, HasRoom, Outcome, Round, Writer, Written
from eskernel_stores.batching.prepared import Form, Join, Prepared

__all__ = ["Batch", "Form", "HasRoom", "Join", "Outcome", "Prepared", "Round", "Writer", "Written"]
