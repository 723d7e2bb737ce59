"""Whose turn it is to change the ledger, and what shares one commit."""
