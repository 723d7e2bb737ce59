"""TLS handshakes of our own, through pyOpenSSL: to see what gRPC does not show."""
