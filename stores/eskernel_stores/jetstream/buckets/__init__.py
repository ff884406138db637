"""Snapshots, checkpoints and leases: records in key-value buckets, replaced by compare-and-set."""
