"""The gRPC server side: mutual TLS on every port, and access control before every handler."""
