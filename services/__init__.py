"""The reference fleet: a small shop of gRPC services, each showing what a user would copy."""
