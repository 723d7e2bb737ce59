"""Failures of one end: what a client presents, what a server requests, what the files hold."""

from __future__ import annotations

from pki.failures.failure import Failure

ENDPOINTS = (
    Failure(
        "no-client-certificate",
        "the client presented no certificate",
        "The server requires a certificate of each client, and the client sent none: it has none, or none "
        "of a CA that the server requests.",
        "Give the client its credential: Workload.channel, or both private_key and certificate_chain of "
        "grpc.ssl_channel_credentials.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "no-client-auth",
        "the server requests no client certificate",
        "TLS authenticates only the server here: anybody may call.",
        "Serve with Workload.server, or grpc.ssl_server_credentials(..., "
        "require_client_auth=True).",
    ),
    Failure(
        "ca-not-requested",
        "the server requests certificates of another CA",
        "In its request the server names the CAs that it accepts, and ours is not among them; many clients "
        "then send no certificate.",
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
        "The key and the first certificate of the chain were not made together: one of the files was replaced, the "
        "other was not; or the chain begins with the CA instead of the leaf.",
        "Restore the key and the chain that were made together. Let one tool write both, and rename them "
        "into place.",
    ),
    Failure(
        "key-permissions",
        "the key file's mode is wrong",
        "Other users may read the private key, or this process may not read it.",
        "Set mode 600 and the service's user as owner; for a volume of secrets set key_mode to warn.",
    ),
    Failure(
        "incomplete-files",
        "the credential's files are incomplete",
        "A file is missing, empty, cut off, or holds something else.",
        "Write them again: handfast issue or handfast renew. Other tools should write a new file and "
        "rename it into place.",
    ),
)
