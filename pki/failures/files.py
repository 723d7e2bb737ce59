"""Failures before any handshake: files, formats, passwords, and credentials that never came."""

from __future__ import annotations

from pki.failures.failure import Failure

FILES = (
    Failure(
        "file-missing",
        "a file is not there",
        "A program opens a file, mostly a key, a certificate or a trust bundle, at a path where there is none: "
        "the path is wrong or relative to another folder, or the file is not mounted into the container.",
        "Correct the path, or put the file there; in a container, list the folder from inside it.",
    ),
    Failure(
        "file-unreadable",
        "a file may not be read",
        "The file is there, but its mode, its owner or a folder above it keeps this process's user out.",
        "Let the service's user own the file (mode 600 for a key), and let it enter every folder above.",
    ),
    Failure(
        "module-missing",
        "a module of the program is missing",
        "The program can't load a part of itself. No connection and no certificate is concerned.",
        "Install the package into the environment that runs the program: for Python, python -m pip install "
        "with the same python.",
    ),
    Failure(
        "not-pem",
        "the file holds no PEM of the kind that is read",
        "Where a PEM block is expected there is none, or it is damaged: the file is empty, holds DER, base64 of PEM, "
        "UTF-16, a path or a text (str) instead of the file's bytes, or another kind of block (key and certificate exchanged); or its "
        "BEGIN and END lines are joined, indented or cut.",
        "Run handfast inspect FILE: it says what the file holds, and what to do.",
    ),
    Failure(
        "key-format",
        "the key is in a form that the program does not read",
        "The private key is whole, but in another of its forms: PKCS#1 (BEGIN RSA PRIVATE KEY), SEC1 (BEGIN EC "
        "PRIVATE KEY), encrypted PKCS#8, OpenSSH's own, or of a kind that the program does not know.",
        "Convert it to unencrypted PKCS#8: openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY8, with mode 600.",
    ),
    Failure(
        "wrong-password",
        "the password does not open the key or the store",
        "A private key, a PKCS#12 store or a Java keystore is encrypted, and the password is wrong, missing, or "
        "ends in a line feed. In a Java keystore the key can have another password than the store.",
        "Try the password with: openssl pkcs12 -in STORE -noout, keytool -list -keystore STORE, or "
        "handfast inspect FILE --password-file PASSWORD.",
    ),
    Failure(
        "old-encryption",
        "the store or key is encrypted as OpenSSL 3 refuses",
        "A PKCS#12 store or key was encrypted with an old algorithm (RC2-40, in part 3DES), as Windows, macOS and "
        "OpenSSL 1.1 do. OpenSSL 3 reads it only with its legacy provider.",
        "Encrypt it anew: openssl pkcs12 -legacy -in OLD -nodes -out ALL.pem, then openssl pkcs12 -export "
        "-in ALL.pem -out NEW; remove ALL.pem.",
    ),
    Failure(
        "store-format",
        "the keystore is of another type",
        "The program expects another kind of store: JKS instead of PKCS#12 or the other way round, or PEM where a store "
        "must be; or the store was damaged as text (by Maven's filtering, by a copy that changes line ends).",
        "Run handfast inspect FILE, and give the program the type of the store (keytool -storetype, "
        "javax.net.ssl.keyStoreType), or convert it: keytool -importkeystore.",
    ),
    Failure(
        "no-trust-anchors",
        "the trust bundle or store holds no root",
        "The bundle or truststore that a verifier uses is empty, was not found, or holds keys instead of trusted "
        "certificates, so nobody can be trusted.",
        "Put the CA's root into it (keytool -importcert -trustcacerts), and check its path and password.",
    ),
    Failure(
        "no-private-key",
        "the certificate comes without its private key",
        "The program has a certificate, and no private key for it that it may use: the store holds only the certificate, "
        "or the key is in memory alone, which Windows (schannel) can't use.",
        "Give it key and certificate together; on Windows export both as PKCS#12 and load that.",
    ),
    Failure(
        "secret-missing",
        "the secret did not arrive",
        "The key or certificate is to come from a Kubernetes secret or from a server of secrets (Envoy's SDS), and that "
        "has none of this name or key, or did not answer yet.",
        "Look whether the secret is there in the same namespace and has the key (kubectl describe secret NAME), "
        "and what its maker says (cert-manager, istiod, SPIRE).",
    ),
    Failure(
        "no-identity",
        "the SPIRE agent issues no identity to this workload",
        "The Workload API answered, but no registration entry fits the workload: its selectors or its parent differ, or "
        "the entry has not yet reached the agent.",
        "Compare spire-server entry show with the selectors in the agent's log (level debug), and wait for the "
        "agent's next synchronisation.",
    ),
    Failure(
        "no-workload-api",
        "the SPIFFE Workload API can't be reached",
        "The address of the Workload API is not set, or no agent answers at it.",
        "Set SPIFFE_ENDPOINT_SOCKET=unix:///PATH/agent.sock, and mount the agent's socket into the container.",
    ),
    Failure(
        "bind-failed",
        "the server can't open its port",
        "Another process listens at the port, or this user may not use it (below 1024). gRPC says the same where it can't "
        "use the credentials of the port: the lines before tell which.",
        "Look who listens: ss -ltnp. For gRPC, read stderr with GRPC_VERBOSITY=error, and handfast inspect DIR.",
    ),
)
