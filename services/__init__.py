"""The reference fleet: a small shop of gRPC services, to copy from."""
