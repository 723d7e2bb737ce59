"""gRPC with mutual TLS: servers and channels that follow what is in force."""
