"""Observations, by I/O: what a server, a caller and the files of a credential show."""
