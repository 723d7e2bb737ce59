"""Leaves: issued by name or by request, one or many in a commit, and renewed."""
