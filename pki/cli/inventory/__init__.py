"""``handfast list``, ``search`` and ``export``: the inventory of the CA."""
