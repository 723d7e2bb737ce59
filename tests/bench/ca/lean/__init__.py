"""The least of a gRPC client that a load generator needs, so that the server gets the machine."""
