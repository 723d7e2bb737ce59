"""What only strict verifiers refuse: OpenSSL with X509_STRICT, which Python 3.13 and later set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509


def strict_faults(
    certificate: x509.Certificate,
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
    *,
    is_ca: bool,
    is_root: bool,
) -> Iterator[str]:
    """Return the rules of RFC 5280 that a certificate breaks and that few verifiers check.

    Args:
        certificate: the certificate.
        extensions: its extensions, decoded.
        is_ca: whether it is a CA's.
        is_root: whether it is self-signed.
    """
    by_type = {type(item.value): item for item in extensions}
    authority_key = by_type.get(x509.AuthorityKeyIdentifier)
    subject_key = by_type.get(x509.SubjectKeyIdentifier)
    key_usage = by_type.get(x509.KeyUsage)
    names = by_type.get(x509.SubjectAlternativeName)
    if authority_key is None and not is_root:
        yield "no authority key identifier"
    if is_ca:
        if key_usage is None:
            yield "a CA without key usage"
        if subject_key is None:
            yield "a CA without subject key identifier"
        if not by_type[x509.BasicConstraints].critical:
            yield "a CA whose basic constraints are not critical"
    elif key_usage is not None and key_usage.value.key_cert_sign:  # type: ignore[attr-defined]
        yield "key usage keyCertSign without being a CA"
    if not certificate.subject.rdns and names is not None and not names.critical:
        yield "an empty subject and alternative names that are not critical"
