"""The aggregates: caller-run actors, their commands, and what they share."""
