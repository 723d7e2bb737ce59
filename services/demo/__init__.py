"""The demo: the whole shop in separate processes, and what each may and may not do."""
