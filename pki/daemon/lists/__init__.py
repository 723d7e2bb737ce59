"""Revocation lists as the CA serves them: when they are due, and how they are sent in pages."""
