"""What platforms write of credentials that they hand out: Kubernetes, SPIRE and the SPIFFE libraries."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import KUBERNETES, SPIRE

PLATFORMS: tuple[Sign, ...] = (
    *signs(
        KUBERNETES,
        ("secret … not found", "secret-missing"),
        ("secrets … not found", "secret-missing"),
        ("references non-existent secret key", "secret-missing"),
        ("references non-existent config key", "secret-missing"),
        ("couldn't find key … in Secret", "secret-missing"),
        ("does not contain a valid TLS certificate", "not-pem secret-missing"),
        # ingress-nginx
        ("local SSL certificate … was not found", "secret-missing"),
        ("no object matching key … in local store", "secret-missing"),
    ),
    *signs(
        SPIRE,
        ("no identity issued", "no-identity"),
        ("no SPIFFE ID issued", "no-identity"),
        ("workload endpoint socket address is not configured", "no-workload-api"),
        ("workload endpoint socket URI must", "no-workload-api"),
        ("workload endpoint socket is not a valid URI", "no-workload-api"),
        ("no SVIDs in response", "no-identity"),
        ("there were no SVIDs in the response", "no-identity"),
        ("no X.509 bundle for trust domain", "wrong-trust-domain"),
        ("no X.509 bundle found for trust domain", "wrong-trust-domain"),
        ("No X509 bundle found for trust domain", "wrong-trust-domain"),
        ("no SPIFFE bundle for trust domain", "wrong-trust-domain"),
        ("BundleNotFoundException", "wrong-trust-domain file-missing"),
        ("No bundle for trust domain in Workload API response", "wrong-trust-domain"),
        ("unexpected trust domain", "wrong-trust-domain"),
        ("agent is not attested or no longer valid", "expired no-identity"),
        ("x509svid: could not get X509 bundle", "wrong-trust-domain"),
        ("leaf certificate SPIFFE ID must have a non-root path", "malformed"),
        ("leaf certificate must not have CA flag set to true", "ca-as-leaf"),
        ("leaf certificate must not have 'keyCertSign' set as key usage", "ca-as-leaf"),
        ("leaf certificate must not have 'cRLSign' set as key usage", "ca-as-leaf"),
        ("signing certificate must have CA flag set to true", "issuer-not-ca"),
        ("signing certificate must have 'keyCertSign' set as key usage", "issuer-not-ca"),
        ("certificate contains no URI SAN", "no-san"),
        ("certificate contains more than one URI SAN", "two-spiffe-ids"),
        ("leaf certificate with CA flag set to true", "ca-as-leaf"),
        ("leaf certificate with KeyCertSign key usage", "ca-as-leaf"),
        ("leaf certificate with KeyCrlSign key usage", "ca-as-leaf"),
        ("leaf certificate must have 'digitalSignature' set as key usage", "wrong-usage"),
        ("certificate does not match private key", "key-mismatch"),
        ("no PEM blocks found", "not-pem"),
        ("x509bundle: cannot parse certificate", "not-pem"),
        ("cannot parse PEM encoded private key", "key-format not-pem"),
        ("cannot parse PEM encoded certificate", "not-pem"),
        ("x509svid: certificate validation failed: no certificates found", "not-pem"),
        ("unable to load X.509 bundle file", "file-missing file-unreadable not-pem"),
        ("cannot read certificate file", "file-missing file-unreadable not-pem"),
        ("cannot read key file", "file-missing file-unreadable not-pem"),
    ),
)
