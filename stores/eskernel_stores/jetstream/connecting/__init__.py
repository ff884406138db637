"""Connections to NATS servers, on a loop of their own, and requests to JetStream over them."""
