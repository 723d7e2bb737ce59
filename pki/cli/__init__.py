"""The command line: thin, it only composes the library."""
