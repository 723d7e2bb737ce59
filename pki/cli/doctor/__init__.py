"""handfast doctor: why a connection fails, step by step."""
