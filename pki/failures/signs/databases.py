"""What the clients and servers of databases write, PostgreSQL above all."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import MYSQL, POSTGRES

DATABASES: tuple[Sign, ...] = (
    *signs(
        POSTGRES,
        ("root certificate file … does not exist", "file-missing"),
        ("certificate present, but not private key file", "file-missing no-private-key"),
        ("could not read root certificate file", "not-pem file-unreadable"),
        ("could not read certificate file", "not-pem file-unreadable"),
        ("could not load private key file", "wrong-password key-format not-pem key-mismatch"),
        ("could not load server certificate file", "not-pem file-missing file-unreadable"),
        ("could not load root certificate file", "not-pem file-missing file-unreadable"),
        ("certificate does not match private key file", "key-mismatch"),
        ("server certificate for … does not match host name", "wrong-name"),
        ("server certificate for … (and … other names) does not match host name", "wrong-name"),
        ("connection requires a valid client certificate", "no-client-certificate"),
        ("certificate authentication failed for user", "access-denied"),
        ("server does not support SSL, but SSL was required", "plaintext-server"),
        ("The server does not support SSL", "plaintext-server"),
        ("SSL SYSCALL error: EOF detected", "closed-without-reason"),
        ("SSL SYSCALL error: Connection reset by peer", "closed-without-reason"),
        ("pg_hba.conf rejects connection for host … no encryption", "plaintext-client"),
        (
            "This may indicate that the server does not support any SSL protocol version",
            "protocol-version plaintext-server",
        ),
    ),
    *signs(
        MYSQL,
        ("SSL_CTX_set_default_verify_paths failed", "file-missing file-unreadable not-pem"),
        ("SSL_CTX_load_verify_locations failed", "file-missing file-unreadable not-pem"),
        ("SSL error: Unable to get certificate", "file-missing file-unreadable not-pem"),
        (
            "SSL error: Unable to get private key",
            "file-missing file-unreadable key-format wrong-password not-pem",
        ),
        (
            "SSL context is not usable without certificate and private key",
            "no-private-key file-missing",
        ),
        ("SSL is required but the server doesn't support it", "plaintext-server"),
        ("SSL is required, but the server does not support it", "plaintext-server"),
    ),
)
