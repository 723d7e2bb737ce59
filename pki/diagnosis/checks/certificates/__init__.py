"""Checks of a certificate and of the chain that it comes with."""
