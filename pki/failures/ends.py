"""Failures of one end: what a client shows or a server asks for, and what the files hold."""

from __future__ import annotations

from pki.failures.failure import Failure

ENDS = (
    Failure(
        "no-client-certificate",
        "the client showed no certificate",
        "The server wants a certificate of each client, and the client sent none: it was given none, "
        "or none that fits what the server asks for.",
        "Give the client its credential: Workload.channel, or private_key and certificate_chain of "
        "grpc.ssl_channel_credentials, both.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "client-not-asked",
        "the server asks no client for a certificate",
        "TLS proves the server alone here; anybody may call.",
        "Serve with Workload.server, or grpc.ssl_server_credentials(..., "
        "require_client_auth=True).",
    ),
    Failure(
        "ca-not-asked-for",
        "the server asks for certificates of another CA",
        "In its request the server names the CAs that it takes, and ours is not among them; many "
        "clients then send nothing.",
        "Add our root to the server's bundle, or use a certificate of a CA that it names.",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "client-refused",
        "the certificate was refused without a precise reason",
        "The other side answered with an alert that says only that the certificate is not accepted.",
        "Read the other side's log, or run: handfast doctor TARGET --credential DIR.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "key-mismatch",
        "the key does not belong to the certificate",
        "Key and chain were not made together: one of the files was replaced, and the other not.",
        "Bring the key and the chain that were made together; write both by one tool, and rename.",
    ),
    Failure(
        "key-permissions",
        "the key file's mode is wrong",
        "Others may read the private key, or this process may not.",
        "chmod 600, owned by the service's user; for a volume of secrets set key_mode to warn.",
    ),
    Failure(
        "torn-files",
        "the credential's files are not whole",
        "A file is missing, empty, cut off, or holds something else.",
        "Write them again: handfast issue or handfast renew; other tools should write aside and "
        "rename.",
    ),
)
