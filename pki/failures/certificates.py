"""Failures of a certificate or its chain, a server's or a client's."""

from __future__ import annotations

from pki.failures.failure import Failure

CERTIFICATES = (
    Failure(
        "expired",
        "the certificate has expired",
        "By the clock of the side that verified it, the certificate or a CA above it has expired: nobody "
        "renewed it, or the process still uses the old one.",
        "Renew it: handfast renew DIR. If the file is newer than the certificate that the process "
        "presents, restart the process, or use Workload.from_directory, which follows the files.",
        "CERTIFICATE_EXPIRED",
    ),
    Failure(
        "not-yet-valid",
        "the certificate is not yet valid",
        "By the clock of the side that verified it, the certificate begins in the future: mostly it was "
        "just issued on a machine whose clock is ahead.",
        "Set the clocks of both machines and of the CA by NTP; a CA's --backdate covers small "
        "differences.",
        "CERTIFICATE_NOT_YET_VALID",
    ),
    Failure(
        "clock-skew",
        "the clocks differ",
        "A certificate or a revocation list is valid by the clock of one side, and not by the other's.",
        "Set the clocks of both machines by NTP.",
        "CERTIFICATE_NOT_YET_VALID",
    ),
    Failure(
        "unknown-ca",
        "the chain leads to no trusted root",
        "The side that verified the chain does not have its root in the trust bundle: another CA signed "
        "it, or the CA was made anew and the bundle is old, or no bundle was given and the roots of the "
        "system were used.",
        "Bring the current bundle to the side that refused, or issue the certificate from the CA "
        "that it trusts; handfast inspect DIR shows both.",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "incomplete-chain",
        "the issuing CA's certificate was not sent",
        "The side that presented the certificate sent the leaf without its issuing CA, and the other side "
        "has only the root: nothing links the two.",
        "Give the server or client the whole chain, leaf first (chain.pem, fullchain.pem; never the "
        "leaf alone).",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "chain-order",
        "the chain is in the wrong order",
        "All certificates were sent, but not each is followed by its issuer. Some verifiers sort them, "
        "others refuse them.",
        "Write the leaf first, then its issuer, and so on.",
    ),
    Failure(
        "chain-extra",
        "the chain holds a certificate that does not belong there",
        "A certificate was sent that is no part of the path: an old issuing CA, or another service's.",
        "Send only the leaf and the CAs above it.",
    ),
    Failure(
        "self-signed",
        "the certificate is self-signed",
        "It was signed with its own key: no CA signed it, and it is no root of the other side.",
        "Issue one from the CA: handfast issue NAME.",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "wrong-name",
        "the certificate is for another name",
        "The chain is good, but the certificate does not hold the expected name: the client connects by "
        "another name than the server's certificate holds, or another server answers.",
        "Connect by a name in the certificate, pin the right one (Workload.channel(..., peer=NAME)), "
        "or issue it with the name: handfast issue NAME --dns ANOTHER.",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "no-san",
        "the certificate has no subject alternative name",
        "It names its holder only in the common name, which current clients do not read.",
        "Issue it with DNS, IP or URI names.",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "wrong-usage",
        "the certificate is not made for this end",
        "Its key usage or extended key usage does not allow this use: it is for servers (serverAuth) and a "
        "client presents it, or the other way round.",
        "Issue it with the usage of this end, or of both ends, as handfast does for workloads.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "ca-as-leaf",
        "a CA certificate stands where a leaf must",
        "The first certificate of the chain is a CA's: mostly the certificates were written in "
        "the wrong order, or the CA's own key is in use.",
        "Issue a leaf for the service, and keep the CA's key at the CA.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "name-constraint",
        "a name is outside the CA's name constraints",
        "The issuing CA may issue only certain names, and the certificate holds another: a DNS name outside "
        "them, or an IP address.",
        "Issue it without that name, or make an issuing CA that permits it: handfast ca init "
        "--permit-dns, --permit-ip (gRPC refuses every IP name under a constrained CA).",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "path-length",
        "a CA signed another CA that it may not sign",
        "A CA in the chain is allowed fewer CAs below it than there are (path length constraint, RFC "
        "5280 section 4.2.1.9): mostly an issuing CA, which may sign only leaves, signed another CA.",
        "Issue from a CA directly below one that permits it, or make the upper CA again with a greater "
        "path length.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "chain-too-long",
        "the chain is longer than the verifier allows",
        "There are more CAs between leaf and root than the verifier is set to allow: in nginx by "
        "ssl_verify_depth or proxy_ssl_verify_depth, which is 1 by default.",
        "Raise the verifier's depth to the number of CAs between leaf and root, or more.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "weak-key",
        "the key is too weak",
        "The key of a certificate is shorter than the verifier allows: RSA under 2048 bits.",
        "Issue a new certificate with an ECDSA P-256 key.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "weak-signature",
        "the signature is too weak",
        "A certificate is signed with SHA-1 or MD5, which current verifiers refuse.",
        "Have the CA sign with SHA-256.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "unsupported-key",
        "the key is of a kind that is not supported",
        "gRPC supports no leaf with an Ed25519 or Ed448 key, as client or as server: there is no common "
        "signature algorithm.",
        "Issue the leaf with an ECDSA P-256 key; Ed25519 is only for CAs.",
        "CIPHER_SUITE_MISMATCH",
    ),
    Failure(
        "revoked",
        "the certificate was revoked",
        "Its issuer's revocation list names it.",
        "If this was intended, the holder needs a new certificate with a new key: handfast issue NAME. "
        "Certificates renewed from a revoked one are revoked as well.",
        "CERTIFICATE_REVOKED",
    ),
    Failure(
        "issuer-revoked",
        "the issuing CA was revoked",
        "The root's revocation list names the CA that signed the certificate, or the CA is no longer "
        "trusted: all that it signed is refused.",
        "Issue a new certificate from the current issuing CA.",
        "CERTIFICATE_REVOKED",
    ),
    Failure(
        "stale-crl",
        "the revocation list is past its end",
        "The list's nextUpdate has passed, so nobody can tell what was revoked since. A careful "
        "verifier refuses every certificate.",
        "Run handfast crl on the CA, and bring crl.pem to every verifier (handfast renew DIR does both for "
        "a credential). Run it from a timer well before the end.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "no-crl",
        "a revocation list is missing",
        "The verifier requires revocation lists, and has none of the certificate's issuer, or none of the "
        "CA above it.",
        "Bring a list for each CA in the chain; or, for files of other tools that bring no list, set "
        'revocation="when-present".',
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "malformed",
        "the certificate breaks a rule",
        "It can't be decoded, or breaks a rule of its profile (RFC 5280, X509-SVID).",
        "Find the rule with handfast inspect FILE or handfast verify FILE, and issue a new certificate "
        "with handfast.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "two-spiffe-ids",
        "the certificate holds more than one URI name",
        "An X509-SVID holds exactly one URI name, its SPIFFE ID; with two, nobody can tell whose it is.",
        "Issue one certificate for each workload.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "wrong-trust-domain",
        "the certificate is of another trust domain",
        "The trust domain of its SPIFFE ID is not the expected one, or not one that its CA may name.",
        "Expect the peer by its full SPIFFE ID, and add the roots of its trust domain to the bundle, "
        "if it is to be trusted.",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "bad-signature",
        "a signature does not fit",
        "A certificate is not signed by the key of the issuer that it names (a CA of the same name "
        "was made anew), or the holder proved itself with another key than the certificate's.",
        "Use a chain, a key and a bundle of the same CA.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "distrusted",
        "the root is not trusted for this use",
        "The verifier has the root, but its store marks the root as distrusted, or as trusted for another use "
        "only (a BEGIN TRUSTED CERTIFICATE, or a setting of the system's store).",
        "Bring the root as a plain certificate to the verifier's bundle, or change the mark in its store.",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "bad-crl",
        "a revocation list can't be used",
        "The verifier has a list of the certificate's issuer and can't use it: its signature does not fit, its "
        "issuer may not sign lists, it covers only a part, or it can't be decoded.",
        "Bring a full list that the CA signed with its current key: handfast crl, then handfast renew "
        "DIR; openssl crl -in FILE -noout -text shows what the list holds.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
)
