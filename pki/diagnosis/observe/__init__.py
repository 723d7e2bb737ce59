"""Observations of a server: I/O that judges nothing."""
