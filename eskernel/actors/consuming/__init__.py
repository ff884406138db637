"""Actors that follow the log: projections and subscriptions, under their supervisor."""
