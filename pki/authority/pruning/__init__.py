"""Pruning: the rows of certificates that ended long ago leave the ledger, by one rule."""
