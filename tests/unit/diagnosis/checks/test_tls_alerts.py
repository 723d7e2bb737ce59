"""Every alert of TLS has its own answer, and none about a certificate is called sure."""

from __future__ import annotations

import pytest

from pki.diagnosis.checks.certificates.openssl_errors import FAILURES_BY_CODE
from pki.diagnosis.checks.client_acceptance import adjust_request, examine_acceptance
from pki.diagnosis.checks.connection import examine_connection
from pki.diagnosis.checks.tls_alerts import ALERTS, REASONS, describe_alert
from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd, RequestedIssuer
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown
from pki.failures import FAILURES
from pki.tls.target import Target
from pki.x509 import canonical_name
from tests.unit.diagnosis.handshakes import NOW, own_credential

# TLS Alerts of https://www.iana.org/assignments/tls-parameters, and those of RFC 5246 before it.
ASSIGNED = [
    *(0, 10, 20, 21, 22, 30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 60, 70, 71, 80, 86),
    *(90, 100, 109, 110, 111, 112, 113, 114, 115, 116, 117, 120, 121),
]
# OpenSSL's own table from an error of X509_verify_cert to an alert: x509table in
# ssl/statem/statem_lib.c, of OpenSSL 1.1.1 to 4.0. All that it does not name is 46.
OPENSSL = {
    40: (50,),
    42: (6, 9, 11, 13, 14, 15, 16, 27, 28, 62, 63, 64, 65, 66, 67, 68, 94),
    43: (26,),
    44: (23,),
    45: (10, 12),
    48: (2, 3, 18, 19, 20, 21, 22, 25, 33, 79),
    51: (4, 5, 7, 8),
    80: (1, 17, 69, 70),
    46: (32, 34, 35, 36, 37, 39, 41, 42, 43, 44, 47, 48, 51, 52, 53, 54, 73, 76, 78, 85, 92),
}
# What real servers sent, each seen by running it: Go 1.19.8 (crypto/tls), HAProxy 2.6.12, OpenSSL
# 3.0.19 (s_server), GnuTLS 3.7.9 (gnutls-serv), Java 17.0.15, PostgreSQL 15.18, MariaDB 10.11.19.
SEEN = [
    ("Go, VerifyPeerCertificate returns an error", 42, "client-refused"),
    ("Go, its ClientCAs lack our root", 42, "unknown-ca"),
    ("Go, an issuer's name in other bytes", 42, "unknown-ca"),
    ("Go, a leaf or an issuing CA for serverAuth alone", 42, "wrong-usage"),
    ("Go, by its clock the certificate has expired", 42, "clock-skew"),
    ("Go, no certificate", 42, "no-client-certificate"),
    ("HAProxy, crl-file with the list of the issuing CA alone", 48, "no-crl"),
    ("OpenSSL, -crl_check_all without the root's list", 48, "no-crl"),
    ("OpenSSL, another CA", 48, "unknown-ca"),
    ("OpenSSL, a path longer than a CA allows", 48, "path-length"),
    ("OpenSSL, a list past its end", 45, "stale-crl"),
    ("OpenSSL, its list names the certificate", 44, "revoked"),
    ("OpenSSL, by its clock the certificate is not yet valid", 42, "clock-skew"),
    ("OpenSSL, a name outside the CA's constraints", 46, "name-constraint"),
    ("OpenSSL, no certificate", 116, "no-client-certificate"),
    ("OpenSSL, no certificate in TLS 1.2", 40, "no-client-certificate"),
    ("GnuTLS, another CA", 49, "unknown-ca"),
    ("GnuTLS, by its clock the certificate has expired", 49, "clock-skew"),
    ("GnuTLS, no certificate", 116, "no-client-certificate"),
    ("Java, another CA", 46, "unknown-ca"),
    ("Java, by its clock the certificate has expired", 46, "clock-skew"),
    ("Java, a leaf for serverAuth alone", 46, "wrong-usage"),
    ("Java, no certificate", 42, "no-client-certificate"),
    ("PostgreSQL, another CA", 48, "unknown-ca"),
    ("MariaDB, another CA", 48, "unknown-ca"),
]


def refused_with(alert: int, before: list[Finding] | None = None) -> list[Finding]:
    anonymous = Handshake(HandshakeEnd.CLOSED, "", completed=True, certificate_requested=True)
    refused = Handshake(HandshakeEnd.ALERT, "", alert=alert, certificate_requested=True)
    return examine_acceptance(
        anonymous,
        refused,
        own=own_credential(),
        ours=before or [],
        request=[],
        server_chain=(),
        now=NOW,
    )


def started_with(alert: int) -> list[Finding]:
    target = Target.parse("payments.shop.internal:443")
    handshake = Handshake(HandshakeEnd.ALERT, "", alert=alert)
    return examine_connection(target, handshake, "payments.shop.internal", None)[1:]


def test_every_assigned_alert_has_an_answer_of_its_own() -> None:
    assert sorted(ALERTS) == ASSIGNED
    assert len({item.name for item in ALERTS.values()}) == len(ALERTS)
    for alert in ALERTS.values():
        assert alert.meaning
        assert {*alert.at_start, *alert.on_certificate} <= FAILURES.keys(), alert
        assert {*alert.on_certificate} <= REASONS.keys() | {*alert.at_start}, alert


@pytest.mark.parametrize("number", [*ASSIGNED, 7, 255])
def test_an_alert_about_our_certificate_is_ranked_and_never_sure(number: int) -> None:
    findings = refused_with(number)
    assert findings
    assert all(item.likelihood for item in findings), findings
    assert all(describe_alert(number).name in item.message for item in findings)
    slugs = [item.failure for item in findings]
    assert len(slugs) == len(set(slugs))


@pytest.mark.parametrize("number", sorted(OPENSSL))
def test_all_errors_that_openssl_maps_to_an_alert_are_among_its_causes(number: int) -> None:
    slugs = {item.failure for item in refused_with(number)}
    for code in OPENSSL[number]:
        # "client-refused" sends the reader to the server's log, for what no other answer fits.
        assert slugs & {*FAILURES_BY_CODE[code], "client-refused"}, (number, code)


@pytest.mark.parametrize(("server", "number", "slug"), SEEN, ids=[item[0] for item in SEEN])
def test_the_fault_of_a_real_server_is_among_the_likely_causes_of_its_alert(
    server: str, number: int, slug: str
) -> None:
    assert slug in [item.failure for item in refused_with(number)], server


@pytest.mark.parametrize(
    ("number", "slug"),
    [
        (42, "wrong-usage"),
        (43, "wrong-usage"),
        (44, "revoked"),
        (45, "expired"),
        (46, "name-constraint"),
        (48, "incomplete-chain"),
        (48, "bad-signature"),
        (51, "bad-signature"),
        (116, "unsupported-key"),
    ],
)
def test_a_fault_that_was_observed_in_our_certificate_is_the_cause_of_the_alert(
    number: int, slug: str
) -> None:
    (finding,) = refused_with(number, [failed("our certificate: times", slug, "so it is")])
    assert finding.failure is None
    assert "above" in finding.message


@pytest.mark.parametrize(
    ("number", "slugs"),
    [
        # A Java server without a certificate too.
        (40, ["cipher-mismatch", "no-server-certificate", "protocol-version"]),
        (70, ["protocol-version"]),
        # A Go server whose GetCertificate returns an error; nil without an error sends 112.
        (80, ["no-server-certificate", "internal-error"]),
        (112, ["no-server-certificate"]),
        (120, ["not-http2"]),
        (10, ["broken-message", "not-http2"]),
        (115, ["unknown-psk"]),
    ],
)
def test_an_alert_before_any_certificate_is_answered_by_what_it_says(
    number: int, slugs: list[str]
) -> None:
    findings = started_with(number)
    assert [item.failure for item in findings] == slugs
    assert all(bool(item.likelihood) == (len(slugs) > 1) for item in findings)


def test_no_alert_at_the_start_is_taken_for_another() -> None:
    for number in ALERTS:
        (first, *_) = started_with(number)
        assert describe_alert(number).meaning in first.message


def test_the_name_that_was_asked_for_is_said_where_the_server_has_no_certificate() -> None:
    for number in (80, 112):
        assert "'payments.shop.internal'" in started_with(number)[0].message


def test_an_alert_that_never_asks_for_a_certificate_is_not_surely_about_a_missing_one() -> None:
    for number, is_sure in ((116, True), (42, True), (40, True), (80, False), (112, False)):
        anonymous = Handshake(HandshakeEnd.ALERT, "", alert=number, certificate_requested=True)
        (finding,) = examine_acceptance(
            anonymous, None, own=None, ours=[], request=[], server_chain=(), now=NOW
        )
        assert finding.failure == "no-client-certificate"
        assert finding.is_sure is is_sure, number


@pytest.mark.parametrize(
    ("acceptance", "status", "is_sure"),
    [
        (ok("accepts our certificate", "so it is"), Status.WARNING, True),
        (unknown("accepts our certificate", "nobody knows"), Status.FAILED, False),
        (symptom("accepts our certificate", "no"), Status.FAILED, True),
    ],
)
def test_that_other_cas_are_named_is_the_cause_only_where_the_server_refused_us(
    acceptance: Finding, status: Status, is_sure: bool
) -> None:
    request = failed("requests a certificate", "ca-not-requested", "of another CA")
    (adjusted,) = adjust_request([request], [acceptance])
    assert (adjusted.status, adjusted.is_sure) == (status, is_sure)


def test_a_server_that_names_our_root_and_closes_is_hardly_without_it() -> None:
    own = own_credential()
    root = RequestedIssuer(canonical_name(own.roots[0].subject), "root")
    for issuers, first in (((), "unknown-ca"), ((root,), "clock-skew")):
        anonymous = Handshake(
            HandshakeEnd.CLOSED,
            "",
            completed=True,
            certificate_requested=True,
            requested_issuers=issuers,
        )
        findings = examine_acceptance(
            anonymous, anonymous, own=own, ours=[], request=[], server_chain=(), now=NOW
        )
        assert max(findings, key=lambda item: item.likelihood).failure == first


def test_a_stale_list_of_ours_is_not_what_a_server_refuses_our_certificate_for() -> None:
    ours = [failed("our certificate: revocation", "stale-crl", "the list has ended")]
    findings = refused_with(42, ours)
    assert all(item.failure and item.likelihood for item in findings)
    # It may have the same list, where the alert can mean one.
    first = max(refused_with(45, ours), key=lambda item: item.likelihood)
    assert first.failure == "stale-crl"
