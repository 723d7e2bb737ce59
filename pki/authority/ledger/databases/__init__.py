"""What the databases that can hold a ledger have of their own."""
