"""``handfast registration``: who may have a certificate."""
