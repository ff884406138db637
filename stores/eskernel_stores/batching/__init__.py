"""Batches of appends: what is common to the stores that write many in one durable write."""

from eskernel_stores.batching.batch import Batch, Outcome, Round, Writer, Written
from eskernel_stores.batching.prepared import Form, Prepared

__all__ = ["Batch", "Form", "Outcome", "Prepared", "Round", "Writer", "Written"]
