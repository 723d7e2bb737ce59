"""Whether a server's certificate holds the name that a client expects."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

from pki.diagnosis.finding import Finding, failed, ok, unknown
from pki.errors import PkiError, shown
from pki.identity import DnsName, SpiffeId, derive_names
from pki.x509 import Fault
from pki.x509.decoding import UNREADABLE
from pki.x509.names import IpAddress
from pki.x509.profiles.rules import find

_QUESTION = "server certificate: expected name"
_VERDICT = Fault.NAME_MISMATCH.verdict

ExpectedName = SpiffeId | DnsName | IpAddress


def examine_names(leaf: x509.Certificate, expected: ExpectedName | None) -> list[Finding]:
    """Hold a server's names against the one expected.

    A wildcard in its first label counts here as it does in gRPC, though handfast issues none.

    Args:
        leaf: its certificate.
        expected: the name; None where nobody said which.
    """
    if expected is None:
        return [unknown(_QUESTION, "nobody said whom to expect", "Name it: --name NAME")]
    try:
        uris, dns, addresses = _held(leaf)
    except (*UNREADABLE, PkiError) as error:
        words = f"its names can't be read: {shown(error)}"
        return [failed(_QUESTION, "malformed", words, verdict=Fault.PROFILE.verdict)]
    if not (uris or dns or addresses):
        return [
            failed(
                _QUESTION,
                "no-san",
                f"it names nothing but its subject {shown(leaf.subject.rfc4514_string())}, and "
                f"{expected} is expected",
                verdict=_VERDICT,
            )
        ]
    all_held = shown(", ".join([*uris, *dns, *addresses]))
    if isinstance(expected, SpiffeId):
        return [_spiffe(expected, uris, dns, all_held)]
    if isinstance(expected, DnsName):
        good = any(_covers(item, expected.name) for item in dns)
    else:
        good = str(expected) in addresses
    if good:
        return [ok(_QUESTION, f"it holds {expected}")]
    return [_wrong(str(expected), all_held)]


def _spiffe(expected: SpiffeId, uris: list[str], dns: list[str], all_held: str) -> Finding:
    if str(expected) not in uris:
        domains = {
            uri.removeprefix("spiffe://").partition("/")[0]
            for uri in uris
            if uri.startswith("spiffe://")
        }
        if domains and expected.trust_domain.name not in domains:
            return failed(
                _QUESTION,
                "wrong-trust-domain",
                f"it is of the trust domain {shown(', '.join(sorted(domains)))}, and {expected} "
                "is expected",
                verdict=_VERDICT,
            )
        return _wrong(str(expected), all_held)
    derived = derive_names(expected).dns
    if derived is not None and derived.name not in dns:
        return failed(
            _QUESTION,
            "wrong-name",
            f"it holds {expected}, and not the DNS name {derived} by which gRPC pins it",
            remedy=f"Issue it with the DNS name {derived}",
            verdict=_VERDICT,
        )
    return ok(_QUESTION, f"it holds {expected}")


def _wrong(expected: str, held: str) -> Finding:
    return failed(
        _QUESTION, "wrong-name", f"it is for {held}, and {expected} is expected", verdict=_VERDICT
    )


def _held(leaf: x509.Certificate) -> tuple[list[str], list[str], list[str]]:
    found = find(leaf, x509.SubjectAlternativeName)
    if found is None:
        return [], [], []
    names = found.value
    return (
        names.get_values_for_type(x509.UniformResourceIdentifier),
        [item.lower() for item in names.get_values_for_type(x509.DNSName)],
        [str(item) for item in names.get_values_for_type(x509.IPAddress)],
    )


def _covers(held: str, name: str) -> bool:
    if held.startswith("*."):
        return name.partition(".")[2] == held[2:]
    return held == name


def read_expected(text: str, own: SpiffeId | None) -> ExpectedName:
    """Read a name as a person writes it.

    Args:
        text: a SPIFFE ID, a DNS name, an IP address, or a workload's name.
        own: whose trust domain a workload's name is of; None where there is none.

    Raises:
        InputError: if it is none of them.
    """
    if "://" in text:
        return SpiffeId.parse(text)
    try:
        return ip_address(text)
    except ValueError:
        pass
    if own is not None and "." not in text:
        return SpiffeId.of_path(own.trust_domain, text)
    return DnsName.parse(text)
