"""Checks of what was observed: each decides one question, without I/O and without a clock."""
