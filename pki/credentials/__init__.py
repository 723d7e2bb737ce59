"""What is in force: a workload's credential, its revocation lists and its policy, kept fresh."""
