"""Revoke what was perhaps signed, and whose certificate the ledger does not hold."""
