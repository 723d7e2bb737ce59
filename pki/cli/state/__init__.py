"""The state folder: the CA in it, its ledger, and the credential directories beside it."""
