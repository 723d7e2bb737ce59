"""TLS handshakes with pyOpenSSL, to observe what gRPC does not report."""
