"""Owning: which aggregates are this kernel's, where several share a store."""
