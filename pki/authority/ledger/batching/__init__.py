"""Rows that are written together, and rows that are read for many steps at once."""
