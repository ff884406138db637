"""The actors: supervision, aggregates, and the machinery they share."""
