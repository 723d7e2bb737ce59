"""Checks of what was observed: each decides one thing, without I/O."""
