"""Backups: a CA as one file, written while it runs, and a CA made of such a file again."""
