"""What is wrong with one certificate, presented by a client or by a server.

The checks are those of gRPC, OpenSSL and other implementations, and not only those of handfast's
profiles: the certificate may come from any CA.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from pki.diagnosis.checks.certificates.usage import examine_usage
from pki.diagnosis.checks.durations import format_duration
from pki.diagnosis.report import Finding, failed, ok, warning
from pki.errors import CertificateError, quote_untrusted
from pki.x509 import Fault, Purpose, read_names
from pki.x509.decoding import UNREADABLE

_LEAST_RSA_BITS = 2048
_LEAST_CURVE_BITS = 256
# The curves that BoringSSL verifies by default, kVerifySignatureAlgorithms in ssl/extensions.cc. It
# signs with one more.
_CURVES_OF_GRPC = {"secp256r1", "secp384r1"}
_CURVE_TO_SIGN_BY = "secp521r1"
_WEAK_HASHES = {"md5", "sha1"}


def examine_certificate(
    whose: str, certificate: x509.Certificate, purpose: Purpose, now: datetime
) -> list[Finding]:
    """Examine a leaf.

    Args:
        whose: for the names of the checks: ``server certificate`` or ``our certificate``.
        certificate: the leaf.
        purpose: the end at which it is presented.
        now: the time, aware.
    """
    try:
        return [
            *_times(whose, certificate, now),
            *examine_usage(whose, certificate, purpose),
            *_key(whose, certificate, purpose),
            *_names(whose, certificate),
        ]
    except (*UNREADABLE, CertificateError) as error:
        return [_malformed(whose, f"it can't be read: {quote_untrusted(error)}")]


def _malformed(whose: str, message: str) -> Finding:
    return failed(whose, "malformed", message, handshake_result=Fault.PROFILE.handshake_result)


def _times(whose: str, certificate: x509.Certificate, now: datetime) -> list[Finding]:
    check = f"{whose}: times"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begin > now:
        return [
            failed(
                check,
                "not-yet-valid",
                f"valid from {begin:%Y-%m-%d %H:%M:%S} UTC, in {format_duration(begin - now)} by "
                "the clock of this machine: it was made with a later begin, or the clocks differ",
                handshake_result=Fault.NOT_YET_VALID.handshake_result,
            )
        ]
    if end < now:
        return [
            failed(
                check,
                "expired",
                f"expired {format_duration(now - end)} ago, at {end:%Y-%m-%d %H:%M:%S} UTC",
                handshake_result=Fault.EXPIRED.handshake_result,
            )
        ]
    left = end - now
    message = f"valid until {end:%Y-%m-%d %H:%M:%S} UTC, {format_duration(left)} more"
    if left < (end - begin) / 10:
        return [
            warning(
                check,
                "expired",
                f"{message}: less than a tenth of its life is left",
                remedy="Renew it now, and find out why its renewal is late",
            )
        ]
    return [ok(check, message)]


def _key(whose: str, certificate: x509.Certificate, purpose: Purpose) -> list[Finding]:
    check = f"{whose}: key"
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        return [failed(check, "unsupported-key", "its key is of a kind unknown here")]
    signature = certificate.signature_hash_algorithm
    if signature is not None and signature.name in _WEAK_HASHES:
        return [failed(check, "weak-signature", f"it is signed with {signature.name.upper()}")]
    match key:
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return [
                failed(
                    check,
                    "unsupported-key",
                    "its key is Ed25519 or Ed448: gRPC accepts no such leaf, at either end",
                )
            ]
        case rsa.RSAPublicKey() if key.key_size < _LEAST_RSA_BITS:
            return [failed(check, "weak-key", f"its key is RSA with {key.key_size} bits")]
        case rsa.RSAPublicKey():
            return [ok(check, f"RSA {key.key_size}")]
        case ec.EllipticCurvePublicKey():
            return [_curve(check, key.curve, purpose)]
        case _:
            return [
                failed(check, "unsupported-key", "its key is of a kind that gRPC does not support")
            ]


def _curve(check: str, curve: ec.EllipticCurve, purpose: Purpose) -> Finding:
    if curve.key_size < _LEAST_CURVE_BITS:
        return failed(check, "weak-key", f"its key is on the curve {curve.name}")
    if curve.name in _CURVES_OF_GRPC:
        return ok(check, f"EC {curve.name}")
    message = f"its key is on the curve {curve.name}, and gRPC accepts no signature of it"
    if curve.name == _CURVE_TO_SIGN_BY and purpose is Purpose.CLIENT:
        # gRPC signs with this curve, and only a gRPC server refuses the signature.
        return warning(check, "unsupported-key", f"{message}: its servers refuse it, others do not")
    return failed(check, "unsupported-key", message)


def _names(whose: str, certificate: x509.Certificate) -> list[Finding]:
    check = f"{whose}: names"
    try:
        names = read_names(certificate)
    except CertificateError as error:
        return [
            warning(
                check,
                "malformed",
                f"{error.message}: handfast refuses it, others may not",
                remedy=error.remedy,
            )
        ]
    spiffe = [item for item in names.uris if item.lower().startswith("spiffe:")]
    if len(spiffe) > 1 or (spiffe and len(names.uris) > 1):
        return [
            failed(
                check,
                "two-spiffe-ids",
                f"it holds {len(names.uris)} URI names, and an X509-SVID exactly one: "
                + quote_untrusted(", ".join(names.uris)),
                handshake_result=Fault.PROFILE.handshake_result,
            )
        ]
    all_names = [*names.uris, *map(str, names.dns_names), *map(str, names.ip_addresses)]
    if not all_names:
        return [
            warning(
                check,
                "no-san",
                "it has no subject alternative name, only the subject "
                f"{quote_untrusted(names.subject)}",
                remedy="Issue it with a DNS or URI name; clients no longer read the common name",
            )
        ]
    return [ok(check, quote_untrusted(", ".join(all_names)))]
