"""Whether a leaf, and each CA above it, may be used for the end at which the leaf is presented.

A CA with an extended key usage can only issue for that usage: RFC 5280 defines it for leaves, and
every verifier applies it along the path. gRPC and OpenSSL take anyExtendedKeyUsage for none, and Go
takes it for all; gRPC does not read the usage of what is in its bundle. Each was seen by running.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.diagnosis.checks.certificates.issuer_path import quote_name
from pki.diagnosis.report import Finding, failed, ok, warning
from pki.errors import quote_untrusted
from pki.x509 import Fault, Purpose
from pki.x509.profiles.rules import find

_USAGES = {
    Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}
_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_ANY_IS_REFUSED = "; gRPC and OpenSSL do not take anyExtendedKeyUsage for it, Go does"
_NAMES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    _ANY: "anyExtendedKeyUsage",
}


def examine_usage(whose: str, certificate: x509.Certificate, purpose: Purpose) -> list[Finding]:
    """Examine what a leaf may be used for.

    Args:
        whose: for the name of the check: ``server certificate`` or ``our certificate``.
        certificate: the leaf.
        purpose: the end at which it is presented.
    """
    check = f"{whose}: usage"
    basic = find(certificate, x509.BasicConstraints)
    if basic is not None and basic.value.ca:
        if not _is_svid(certificate):
            message = (
                "it is a CA certificate: gRPC and OpenSSL accept it as a leaf, handfast does not"
            )
            return [warning(check, "ca-as-leaf", message)]
        # X509-SVID section 4.1: a leaf must not be a CA.
        return [
            failed(
                check,
                "ca-as-leaf",
                "it is a CA certificate in the place of the leaf",
                handshake_result=Fault.PROFILE.handshake_result,
            )
        ]
    extended = find(certificate, x509.ExtendedKeyUsage)
    if extended is not None and _USAGES[purpose] not in extended.value:
        only_any = _ANY in extended.value
        return [
            failed(
                check,
                "wrong-usage",
                f"its extended key usage is {_list_usages(extended.value)}; a {purpose.value} "
                f"needs {purpose.value}Auth" + (_ANY_IS_REFUSED if only_any else ""),
                handshake_result=Fault.PROFILE.handshake_result,
            )
        ]
    usage = find(certificate, x509.KeyUsage)
    if usage is not None and not usage.value.digital_signature:
        return [
            failed(
                check,
                "wrong-usage",
                "its key usage lacks digitalSignature, which every current handshake needs",
                handshake_result=Fault.PROFILE.handshake_result,
            )
        ]
    if extended is None:
        return [
            warning(
                check,
                "wrong-usage",
                "it has no extended key usage: gRPC accepts it, handfast and others do not",
                remedy=f"Issue it with {purpose.value}Auth",
            )
        ]
    return [ok(check, f"made for a {purpose.value}")]


def examine_ca_usages(
    whose: str,
    path: Sequence[x509.Certificate],
    purpose: Purpose,
    roots: Sequence[x509.Certificate],
) -> list[Finding]:
    """Examine whether each CA above a leaf may issue for the end at which the leaf is presented.

    Args:
        whose: for the name of the check: ``server certificate`` or ``our certificate``.
        path: the certificates, from the leaf upward.
        purpose: the end at which the leaf is presented.
        roots: what the verifier trusts; from the first of them upward, gRPC reads no usage.
    """
    check = f"{whose}: usage of its CAs"
    is_trusted = path[0] in roots
    for item in path[1:]:
        is_trusted = is_trusted or item in roots
        extended = find(item, x509.ExtendedKeyUsage)
        if extended is None or _USAGES[purpose] in extended.value:
            continue
        usages = set(extended.value)
        # A CA for neither end is one fault, at whichever end its leaves are presented.
        for_none = not usages & set(_USAGES.values())
        refused = "at both ends" if for_none else f"as a {purpose.value}'s"
        missing = "serverAuth and clientAuth" if for_none else f"{purpose.value}Auth too"
        message = (
            f"{quote_name(item.subject)} above it is a CA for {_list_usages(usages)} alone, so "
            f"what it issues is refused {refused}"
        )
        remedy = (
            f"Make that CA again without extended key usage, or with {missing}, and issue the leaf "
            "again"
        )
        if is_trusted:
            message += ": by OpenSSL and Go; gRPC does not read the usage of what it trusts"
            return [warning(check, "wrong-usage", message, remedy=remedy)]
        if _ANY in usages:
            message += _ANY_IS_REFUSED
        return [
            failed(
                check,
                "wrong-usage",
                message,
                remedy=remedy,
                handshake_result=Fault.PROFILE.handshake_result,
            )
        ]
    return []


def _list_usages(usages: Iterable[x509.ObjectIdentifier]) -> str:
    names = sorted(_NAMES.get(item, item._name) for item in usages)
    return quote_untrusted(", ".join(names))


def _is_svid(certificate: x509.Certificate) -> bool:
    names = find(certificate, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    return any(item.lower().startswith("spiffe:") for item in uris)
