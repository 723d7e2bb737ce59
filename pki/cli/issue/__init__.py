"""``handfast issue``: one certificate, or those of a fleet."""
