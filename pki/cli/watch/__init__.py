"""handfast watch: credentials and their life, live."""
