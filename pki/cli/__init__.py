"""The command line: each command only composes calls of the library."""
