"""What eskernel is measured against: other ways to carry out the same commands."""
