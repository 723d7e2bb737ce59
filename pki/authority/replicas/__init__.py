"""Replicas: machines that serve one CA, whose ledger is a database that they share."""
