"""``handfast doctor``: why a connection fails, check by check."""
