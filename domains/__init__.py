"""Sample domains: one plain module of pure functions each."""
