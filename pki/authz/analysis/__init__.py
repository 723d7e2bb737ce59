"""Tools to write and review a whole policy. No call is decided here."""
