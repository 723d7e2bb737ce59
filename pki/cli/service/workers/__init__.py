"""``handfast ca serve --workers``: the process that supervises, and those that serve."""
