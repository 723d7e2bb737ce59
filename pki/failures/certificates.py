"""Failures of a certificate or its chain, the server's at a client as well as a client's at a server."""

from __future__ import annotations

from pki.failures.failure import Failure

CERTIFICATES = (
    Failure(
        "expired",
        "the certificate has expired",
        "The end of the certificate, or of a CA above it, has passed by the clock of whoever "
        "verified it: nobody renewed it, or the process still holds the one from before.",
        "Renew it: handfast renew DIR. If the file is newer than what the process shows, restart the "
        "process, or give it Workload.from_directory, which follows the files.",
        "CERTIFICATE_EXPIRED",
    ),
    Failure(
        "not-yet-valid",
        "the certificate is not yet valid",
        "The certificate begins later than now, by the clock of whoever verified it: mostly it was "
        "just issued on a machine whose clock is ahead.",
        "Set the clocks of both machines and of the CA by NTP; a CA's --backdate covers small "
        "differences.",
        "CERTIFICATE_NOT_YET_VALID",
    ),
    Failure(
        "clock-differs",
        "the clocks differ",
        "One side holds for past or future what the other holds for now.",
        "Set the clocks of both machines by NTP.",
        "CERTIFICATE_NOT_YET_VALID",
    ),
    Failure(
        "unknown-ca",
        "the chain leads to no root that is trusted",
        "Whoever verified the chain doesn't have its root in the trust bundle: another CA signed it, "
        "or the CA was made anew and the bundle is old, or no bundle was given and the system's "
        "roots were taken.",
        "Bring the present bundle to the side that refused, or issue the certificate from the CA "
        "that it trusts; handfast inspect DIR shows both.",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "incomplete-chain",
        "the issuing CA's certificate was not sent",
        "The side that showed the certificate sent the leaf without its issuing CA, and the other "
        "has only the root: nothing leads from one to the other.",
        "Give the server or client the whole chain, leaf first (chain.pem, fullchain.pem; never the "
        "leaf alone).",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "chain-order",
        "the chain stands in the wrong order",
        "The certificates are all there, and not each is followed by its issuer. Some verifiers sort "
        "them, others refuse.",
        "Write the leaf first, then its issuer, and so on.",
    ),
    Failure(
        "chain-extra",
        "the chain holds what does not belong there",
        "A certificate was sent that leads nowhere: an old issuing CA, or another service's.",
        "Send the leaf and the CAs above it, nothing else.",
    ),
    Failure(
        "self-signed",
        "the certificate is self-signed",
        "It was signed with its own key: no CA vouches for it, and the other side doesn't have it "
        "among its roots.",
        "Issue one from the CA: handfast issue NAME.",
        "CERTIFICATE_AUTHORITY_INVALID",
    ),
    Failure(
        "wrong-name",
        "the certificate is for another name",
        "The chain is good, and the certificate does not hold the name that was expected: the client "
        "connects by another name than the server's certificate holds, or another server answers.",
        "Connect by a name in the certificate, pin the right one (Workload.channel(..., peer=NAME)), "
        "or issue it with the name: handfast issue NAME --dns ANOTHER.",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "no-san",
        "the certificate has no subject alternative name",
        "It names its holder in the common name alone, which clients of today no longer read.",
        "Issue it with DNS, IP or URI names.",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "wrong-usage",
        "the certificate is not made for this end",
        "Its key usage or extended key usage does not allow what it is used for: one for servers "
        "(serverAuth) shown by a client, or the other way round.",
        "Issue it with the usage of both ends, as handfast does for workloads, or of the right one.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "ca-as-leaf",
        "a CA certificate stands where a leaf must",
        "The first certificate of the chain is a CA's: mostly the files were written in the wrong "
        "order, or the CA's own key is in use.",
        "Issue a leaf for the service; a CA's key belongs nowhere else.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "name-constraint",
        "a name lies outside what the CA may name",
        "The issuing CA is constrained to certain names, and the certificate holds another: a DNS "
        "name of elsewhere, or an IP address.",
        "Issue it without that name, or make an issuing CA that permits it: handfast ca init "
        "--permit-dns, --permit-ip (gRPC refuses every IP name under a constrained CA).",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "path-length",
        "a CA signed another one that it may not",
        "A CA in the chain is allowed fewer CAs below it than there are (path length constraint, RFC "
        "5280 section 4.2.1.9): mostly an issuing CA, which may sign leaves alone, signed a further CA.",
        "Issue from a CA directly below one that permits it, or make the upper CA anew with a longer "
        "path length.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "chain-too-long",
        "the chain is longer than the verifier goes",
        "Between leaf and root stand more CAs than whoever verified the chain was set to go through: "
        "in nginx ssl_verify_depth or proxy_ssl_verify_depth, which is 1 unless set.",
        "Raise the verifier's depth to the number of CAs between leaf and root, or more.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "weak-key",
        "the key is too weak",
        "The key of a certificate is shorter than the verifier takes: RSA under 2048 bits.",
        "Issue it anew with an ECDSA P-256 key.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "weak-signature",
        "the signature is too weak",
        "A certificate is signed with SHA-1 or MD5, which verifiers of today refuse.",
        "Have the CA sign with SHA-256.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "unsupported-key",
        "the key is of a kind that is not taken",
        "gRPC takes no Ed25519 or Ed448 leaf, as client or server: there is no common signature "
        "algorithm.",
        "Issue the leaf with an ECDSA P-256 key; Ed25519 is for CAs alone.",
        "CIPHER_SUITE_MISMATCH",
    ),
    Failure(
        "revoked",
        "the certificate was revoked",
        "Its issuer's revocation list names it.",
        "If that was meant, the holder needs a new one under a new key: handfast issue NAME. "
        "Certificates renewed from a revoked one are revoked as well.",
        "CERTIFICATE_REVOKED",
    ),
    Failure(
        "issuer-revoked",
        "the issuing CA was revoked",
        "The CA that signed the certificate stands on the root's list, or is trusted no more: all "
        "that it signed is refused.",
        "Issue a new certificate from the present issuing CA.",
        "CERTIFICATE_REVOKED",
    ),
    Failure(
        "stale-list",
        "the revocation list is past its end",
        "The list's nextUpdate has passed, so nobody can tell what was revoked since; a careful "
        "verifier refuses everybody.",
        "On the CA: handfast crl; then bring crl.pem to who verifies (handfast renew DIR does both "
        "for a credential). Run it from a timer well before the end.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "no-list",
        "a revocation list is missing",
        "The verifier must know of revocation, and has no list of the certificate's issuer, or not "
        "of the CA above it.",
        "Bring a list for each CA in the chain; or, for files of other tools that come without, "
        'say so: revocation="when-present".',
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "malformed",
        "the certificate breaks a rule",
        "It can't be decoded, or holds what its profile forbids (RFC 5280, X509-SVID).",
        "See which: handfast inspect FILE, handfast verify FILE; and issue it with handfast.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "two-spiffe-ids",
        "the certificate holds more than one URI name",
        "An X509-SVID holds exactly one URI name, its SPIFFE ID; with two nobody can tell whose it is.",
        "Issue one certificate for each workload.",
        "CERTIFICATE_MALFORMED",
    ),
    Failure(
        "wrong-trust-domain",
        "the certificate is of another trust domain",
        "Its SPIFFE ID lies in another trust domain than the one expected, or than its CA may name.",
        "Expect the peer by its full SPIFFE ID, and add the roots of its trust domain to the bundle, "
        "if it is to be trusted.",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "bad-signature",
        "a signature does not fit",
        "A certificate is not signed by the key of the issuer that it names (a CA of the same name "
        "was made anew), or the holder proved itself with another key than the certificate's.",
        "Bring chain, key and bundle of one and the same CA.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
)
