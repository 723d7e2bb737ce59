"""Whether a server's certificate holds the expected name, and which name gRPC can pin.

A name of one label is a workload's name or a DNS name: the certificate decides which. gRPC for C
and Python checks DNS names and IP addresses, and no SPIFFE ID. So handfast's channels pin the one
DNS name that is derived from the SPIFFE ID.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from cryptography import x509

from pki.diagnosis.report import Finding, failed, ok, unknown, warning
from pki.errors import PkiError, quote_untrusted
from pki.failures import FAILURES
from pki.identity import DnsName, SpiffeId, TrustDomain, derive_names
from pki.x509 import Fault
from pki.x509.decoding import UNREADABLE
from pki.x509.names import IpAddress
from pki.x509.profiles.rules import find

EXPECTED_NAME = "server certificate: expected name"
_MISMATCH_RESULT = Fault.NAME_MISMATCH.handshake_result


@dataclass(frozen=True, slots=True)
class ShortName:
    """A name of one label: a workload's name or a DNS name.

    Args:
        label: as it was written.
        trust_domain: the workload's trust domain; None takes any.
    """

    label: str
    trust_domain: TrustDomain | None

    def __str__(self) -> str:
        """Return what the name may stand for."""
        whose = self.trust_domain.id_uri if self.trust_domain is not None else "spiffe://..."
        return f"{whose}/{self.label} or the DNS name {self.label}"

    def workload_in(self, uris: list[str]) -> SpiffeId | None:
        """Return the SPIFFE ID that is meant; without a trust domain, the first of this path."""
        if self.trust_domain is not None:
            return SpiffeId.of_path(self.trust_domain, self.label)
        for uri in uris:
            try:
                workload = SpiffeId.parse(uri)
            except PkiError:
                continue
            if workload.path.strip("/") == self.label:
                return workload
        return None


ExpectedName = SpiffeId | DnsName | IpAddress | ShortName


def examine_names(
    leaf: x509.Certificate, expected: ExpectedName | None, *, is_dialled: bool = False
) -> list[Finding]:
    """Check a server's names against the expected one.

    A wildcard in the first label matches as it does in gRPC, though handfast issues no wildcards.

    Args:
        leaf: the server's certificate.
        expected: the name; None where nobody named one.
        is_dialled: whether nobody named it, and it is the host that was dialled.
    """
    findings = _examine_names(leaf, expected)
    if not is_dialled:
        return findings
    return [
        replace(item, remedy=_name_remedy(leaf)) if item.failure == "wrong-name" else item
        for item in findings
    ]


def _name_remedy(leaf: x509.Certificate) -> str:
    """Return what to do if a server does not hold the host that was dialled; empty for the usual.

    A server of handfast is pinned by its workload's name, and holds no name of its host.
    """
    for uri in _names_in(leaf)[0]:
        try:
            workload = SpiffeId.parse(uri)
        except PkiError:
            continue
        return (
            "No name was given, so the host is expected. Name the workload that you expect: if it "
            f"is this one, --name {workload}. Otherwise: {FAILURES['wrong-name'].remedy}"
        )
    return ""


def _examine_names(leaf: x509.Certificate, expected: ExpectedName | None) -> list[Finding]:
    if expected is None:
        return [unknown(EXPECTED_NAME, "no expected name was given", "Name it: --name NAME")]
    try:
        uris, dns, addresses = _names_in(leaf)
    except (*UNREADABLE, PkiError) as error:
        message = f"its names can't be read: {quote_untrusted(error)}"
        return [
            failed(
                EXPECTED_NAME, "malformed", message, handshake_result=Fault.PROFILE.handshake_result
            )
        ]
    if not (uris or dns or addresses):
        return [
            failed(
                EXPECTED_NAME,
                "no-san",
                "it names nothing but its subject "
                f"{quote_untrusted(leaf.subject.rfc4514_string())}, and {expected} is expected",
                handshake_result=_MISMATCH_RESULT,
            )
        ]
    all_names = quote_untrusted(", ".join([*uris, *dns, *addresses]))
    if isinstance(expected, ShortName):
        workload = expected.workload_in(uris)
        if any(_matches(item, expected.label.lower()) for item in dns):
            return [ok(EXPECTED_NAME, f"it holds {expected.label}")]
        if workload is None or str(workload) not in uris:
            return [_wrong_name(str(expected), all_names)]
        expected = workload
    if isinstance(expected, SpiffeId):
        return [_spiffe(expected, uris, dns, all_names)]
    if isinstance(expected, DnsName):
        good = any(_matches(item, expected.name) for item in dns)
    else:
        good = str(expected) in addresses
    if good:
        return [ok(EXPECTED_NAME, f"it holds {expected}")]
    return [_wrong_name(str(expected), all_names)]


def _spiffe(expected: SpiffeId, uris: list[str], dns: list[str], all_names: str) -> Finding:
    if str(expected) not in uris:
        domains = {
            uri.removeprefix("spiffe://").partition("/")[0]
            for uri in uris
            if uri.startswith("spiffe://")
        }
        if domains and expected.trust_domain.name not in domains:
            return failed(
                EXPECTED_NAME,
                "wrong-trust-domain",
                f"it is of the trust domain {quote_untrusted(', '.join(sorted(domains)))}, and "
                f"{expected} is expected",
                handshake_result=_MISMATCH_RESULT,
            )
        return _wrong_name(str(expected), all_names)
    derived = derive_names(expected).dns
    if derived is not None and derived.name not in dns:
        # A client that checks SPIFFE IDs needs no DNS name, and SPIRE issues SVIDs without one.
        return warning(
            EXPECTED_NAME,
            "wrong-name",
            f"it holds {expected}, and not the DNS name {derived} by which handfast's channels pin "
            "it: gRPC for Python checks no SPIFFE ID",
            remedy=f"For those, issue it with the DNS name {derived}",
        )
    return ok(EXPECTED_NAME, f"it holds {expected}")


def _wrong_name(expected: str, names: str) -> Finding:
    return failed(
        EXPECTED_NAME,
        "wrong-name",
        f"it is for {names}, and {expected} is expected",
        handshake_result=_MISMATCH_RESULT,
    )


def _names_in(leaf: x509.Certificate) -> tuple[list[str], list[str], list[str]]:
    extension = find(leaf, x509.SubjectAlternativeName)
    if extension is None:
        return [], [], []
    names = extension.value
    return (
        names.get_values_for_type(x509.UniformResourceIdentifier),
        [item.lower() for item in names.get_values_for_type(x509.DNSName)],
        [str(item) for item in names.get_values_for_type(x509.IPAddress)],
    )


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def sni_name(expected: ExpectedName | None) -> str:
    """Return the DNS name for TLS's server name indication; empty where there is none to send."""
    match expected:
        case DnsName():
            return expected.name
        case SpiffeId():
            derived = derive_names(expected).dns
            return derived.name if derived else ""
        case ShortName() if expected.trust_domain is not None:
            workload = SpiffeId.of_path(expected.trust_domain, expected.label)
            return sni_name(workload) or expected.label
        case ShortName():
            return expected.label
        case _:
            return ""


def name_to_pin(leaf: x509.Certificate | None, expected: ExpectedName | None) -> str:
    """Return the name that gRPC must find in a server's certificate; empty takes the target's host.

    Args:
        leaf: the server's certificate; None if it can't be read.
        expected: the expected name.
    """
    sni = str(expected) if isinstance(expected, IpAddress) else sni_name(expected)
    try:
        uris, dns, addresses = _names_in(leaf) if leaf is not None else ([], [], [])
    except (*UNREADABLE, PkiError):
        return sni
    workload: object = expected
    if isinstance(expected, ShortName):
        if any(_matches(item, expected.label.lower()) for item in dns):
            return expected.label
        workload = expected.workload_in(uris)
    if not isinstance(workload, SpiffeId) or str(workload) not in uris:
        return sni
    # The SPIFFE ID is the expected one, so gRPC may match any DNS name or address beside it.
    derived = sni_name(workload)
    return derived if derived in dns or not (dns or addresses) else [*dns, *addresses][0]


def parse_expected_name(text: str, own: SpiffeId | None) -> ExpectedName:
    """Parse a name as a person writes it.

    Args:
        text: a SPIFFE ID, a DNS name, an IP address, or a workload's name.
        own: our SPIFFE ID, whose trust domain a workload's name belongs to; None if we have none.

    Raises:
        InputError: if the text is none of these names.
    """
    if "://" not in text:
        if "." in text or ":" in text:
            return parse_host(text)
        if own is None:
            return ShortName(DnsName.parse(text).name, None)
    domain = own.trust_domain if own is not None else None
    # Every DNS label is a workload's name too; the certificate says which of the two is meant.
    workload = SpiffeId.parse_name(text, domain)
    return workload if "://" in text else ShortName(text, domain)


def parse_host(text: str) -> DnsName | IpAddress:
    """Parse the host that a client connects to, or asks for.

    Raises:
        InputError: if it is neither a DNS name nor an address.
    """
    try:
        return ip_address(text)
    except ValueError:
        return DnsName.parse(text)
