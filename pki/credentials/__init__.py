"""What is in force: credential, revocation lists and policy, kept fresh; without gRPC."""
