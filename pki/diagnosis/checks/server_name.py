"""Whether a server's certificate holds the name that a client expects, and what gRPC can pin.

A name of one label is a workload's or a DNS name: which, the certificate says. A SPIFFE ID is a
name for those who check it; gRPC of C and Python checks DNS names and addresses alone, and
handfast's channels pin the one DNS name that follows from the ID.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509

from pki.diagnosis.report import Finding, failed, ok, unknown, warning
from pki.errors import PkiError, quote_untrusted
from pki.identity import DnsName, SpiffeId, TrustDomain, derive_names
from pki.x509 import Fault
from pki.x509.decoding import UNREADABLE
from pki.x509.names import IpAddress
from pki.x509.profiles.rules import find

QUESTION = "server certificate: expected name"
_VERDICT = Fault.NAME_MISMATCH.verdict


@dataclass(frozen=True, slots=True)
class ShortName:
    """A name of one label: a workload's, or a DNS name.

    Args:
        label: as it was written.
        trust_domain: that of the workload; None takes one of any.
    """

    label: str
    trust_domain: TrustDomain | None

    def __str__(self) -> str:
        """Write what it may stand for."""
        whose = self.trust_domain.id_uri if self.trust_domain is not None else "spiffe://..."
        return f"{whose}/{self.label} or the DNS name {self.label}"

    def workload_in(self, uris: list[str]) -> SpiffeId | None:
        """Return the SPIFFE ID that it stands for; without a trust domain, the first of its path."""
        if self.trust_domain is not None:
            return SpiffeId.of_path(self.trust_domain, self.label)
        for uri in uris:
            try:
                found = SpiffeId.parse(uri)
            except PkiError:
                continue
            if found.path.strip("/") == self.label:
                return found
        return None


ExpectedName = SpiffeId | DnsName | IpAddress | ShortName


def examine_names(leaf: x509.Certificate, expected: ExpectedName | None) -> list[Finding]:
    """Hold a server's names against the one expected.

    A wildcard in its first label counts here as it does in gRPC, though handfast issues none.

    Args:
        leaf: its certificate.
        expected: the name; None where nobody said which.
    """
    if expected is None:
        return [unknown(QUESTION, "nobody said whom to expect", "Name it: --name NAME")]
    try:
        uris, dns, addresses = _held(leaf)
    except (*UNREADABLE, PkiError) as error:
        words = f"its names can't be read: {quote_untrusted(error)}"
        return [failed(QUESTION, "malformed", words, verdict=Fault.PROFILE.verdict)]
    if not (uris or dns or addresses):
        return [
            failed(
                QUESTION,
                "no-san",
                "it names nothing but its subject "
                f"{quote_untrusted(leaf.subject.rfc4514_string())}, and "
                f"{expected} is expected",
                verdict=_VERDICT,
            )
        ]
    all_held = quote_untrusted(", ".join([*uris, *dns, *addresses]))
    if isinstance(expected, ShortName):
        workload = expected.workload_in(uris)
        if any(_covers(item, expected.label.lower()) for item in dns):
            return [ok(QUESTION, f"it holds {expected.label}")]
        if workload is None or str(workload) not in uris:
            return [_wrong(str(expected), all_held)]
        expected = workload
    if isinstance(expected, SpiffeId):
        return [_spiffe(expected, uris, dns, all_held)]
    if isinstance(expected, DnsName):
        good = any(_covers(item, expected.name) for item in dns)
    else:
        good = str(expected) in addresses
    if good:
        return [ok(QUESTION, f"it holds {expected}")]
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
                QUESTION,
                "wrong-trust-domain",
                f"it is of the trust domain {quote_untrusted(', '.join(sorted(domains)))}, "
                f"and {expected} "
                "is expected",
                verdict=_VERDICT,
            )
        return _wrong(str(expected), all_held)
    derived = derive_names(expected).dns
    if derived is not None and derived.name not in dns:
        # Who checks SPIFFE IDs needs none: SPIRE issues SVIDs without.
        return warning(
            QUESTION,
            "wrong-name",
            f"it holds {expected}, and not the DNS name {derived} by which handfast's channels pin "
            "it: gRPC for Python checks no SPIFFE ID",
            remedy=f"For those, issue it with the DNS name {derived}",
        )
    return ok(QUESTION, f"it holds {expected}")


def _wrong(expected: str, held: str) -> Finding:
    return failed(
        QUESTION, "wrong-name", f"it is for {held}, and {expected} is expected", verdict=_VERDICT
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


def name_to_ask_for(expected: ExpectedName | None) -> str:
    """Return the DNS name for the name indication of TLS; empty where there is none to send."""
    match expected:
        case DnsName():
            return expected.name
        case SpiffeId():
            derived = derive_names(expected).dns
            return derived.name if derived else ""
        case ShortName() if expected.trust_domain is not None:
            workload = SpiffeId.of_path(expected.trust_domain, expected.label)
            return name_to_ask_for(workload) or expected.label
        case ShortName():
            return expected.label
        case _:
            return ""


def name_to_pin(leaf: x509.Certificate | None, expected: ExpectedName | None) -> str:
    """Return the name that gRPC is told to find in a server's certificate; empty for the target's.

    Args:
        leaf: what the server showed; None if that can't be read.
        expected: whom to expect.
    """
    asked = str(expected) if isinstance(expected, IpAddress) else name_to_ask_for(expected)
    try:
        uris, dns, addresses = _held(leaf) if leaf is not None else ([], [], [])
    except (*UNREADABLE, PkiError):
        return asked
    workload: object = expected
    if isinstance(expected, ShortName):
        if any(_covers(item, expected.label.lower()) for item in dns):
            return expected.label
        workload = expected.workload_in(uris)
    if not isinstance(workload, SpiffeId) or str(workload) not in uris:
        return asked
    # It is whom we expect, by its ID: gRPC may find it by any name that it has.
    derived = name_to_ask_for(workload)
    return derived if derived in dns or not (dns or addresses) else [*dns, *addresses][0]


def read_expected(text: str, own: SpiffeId | None) -> ExpectedName:
    """Read a name as a person writes it.

    Args:
        text: a SPIFFE ID, a DNS name, an IP address, or a workload's name.
        own: whose trust domain a workload's name is of; None where there is none.

    Raises:
        InputError: if it is none of them.
    """
    if "://" not in text:
        if "." in text or ":" in text:
            return read_host(text)
        if own is None:
            return ShortName(DnsName.parse(text).name, None)
    domain = own.trust_domain if own is not None else None
    # Checked as a path, which every DNS label is too; the certificate says which one is meant.
    workload = SpiffeId.parse_name(text, domain)
    return workload if "://" in text else ShortName(text, domain)


def read_host(text: str) -> DnsName | IpAddress:
    """Read the host that a client connects to, or asks for.

    Raises:
        InputError: if it is neither a DNS name nor an address.
    """
    try:
        return ip_address(text)
    except ValueError:
        return DnsName.parse(text)
