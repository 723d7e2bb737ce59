"""The files beside a ledger: its mark, what is kept in reserve, and what is checked of them."""
