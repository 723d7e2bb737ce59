"""Decides whether a peer may call a method, and logs and counts each decision; without gRPC."""
