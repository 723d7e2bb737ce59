"""How a failure is found in a text: whole words, no distance, and never surer than the text."""

from __future__ import annotations

import ssl
import time

import pytest
from OpenSSL import _util

from pki.failures import SIGNS, recognise
from pki.failures.alerts import ALERTS

REFUSED = "certificate verify failed (unable to get local issuer certificate)"
PKIX = "PKIX path building failed: unable to find valid certification path to requested target"


def slugs(text: str) -> list[str]:
    return [match.failure.slug for match in recognise(text)]


def is_sure(text: str) -> bool:
    return any(match.sure for match in recognise(text))


# Whole words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'key.pem'", ["file-missing"]),
        ("ModuleNotFoundError: No module named 'grpc'", ["module-missing"]),
        ("BundleNotFoundException", ["wrong-trust-domain", "file-missing"]),
        ("getaddrinfo ENOTFOUND orders.internal", ["no-such-host"]),
        ("error.ENOTFOUND.", ["no-such-host"]),
        ("SSL alert number 4", []),
        ("SSL alert number 480", []),
        ("XALERT_UNKNOWN_CA", []),
        ("CERT_HAS_EXPIREDX", []),
        ("no such hosts", []),
    ],
)
def test_a_word_counts_only_as_a_whole(text: str, expected: list[str]) -> None:
    assert slugs(text) == expected


def test_an_underscore_parts_words_as_in_the_codes_of_openssl() -> None:
    assert slugs("[SSL: TLSV1_ALERT_PROTOCOL_VERSION]") == ["protocol-version"]


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mcertificate has expired\x1b[0m",
        r'{"error": "handshake:\ncertificate has expired\n"}',
        r'msg="desc = \"certificate has expired\""',
        r"\\tcertificate has expired",
        "CERTIFICATE\n\tHAS   EXPIRED",
    ],
)
def test_colours_and_what_json_escapes_hide_no_word(text: str) -> None:
    assert slugs(text) == ["expired"]


def test_a_quote_that_json_escapes_is_a_quote() -> None:
    text = r"desc = \"unexpected ID \\\"spiffe://shop.internal/audit\\\"\""
    assert slugs(text) == ["wrong-name"]


# No distance


@pytest.mark.parametrize(
    "text",
    [
        f"error:0A000086:SSL routines::{REFUSED} while sending the http request",
        f"SSL routines::{REFUSED}. Then: http request",
        f"{REFUSED}\n" * 3 + "http request",
    ],
)
def test_a_sign_joins_no_words_of_two_sentences(text: str) -> None:
    assert slugs(text) == ["unknown-ca", "incomplete-chain"]


def test_a_sign_joins_what_one_value_parts() -> None:
    assert slugs("error:1407609C:SSL routines:SSL23_GET_CLIENT_HELLO:http request") == [
        "plaintext-client"
    ]
    assert slugs(f"No name matching {'x' * 300} found") == ["wrong-name"]
    assert slugs(f"No name matching {'x' * 301} found") == []
    assert slugs("No name matching a found, b found") == ["wrong-name"]
    assert slugs("No name matching was ever found") == []


# Several signs


def test_a_sure_sign_does_not_silence_one_that_points_elsewhere() -> None:
    text = f"java.io.FileNotFoundException: trust.jks (No such file or directory) {PKIX}"
    assert slugs(text) == ["file-missing", "unknown-ca", "incomplete-chain"]
    assert not is_sure(text)


def test_two_sure_signs_that_differ_are_both_named_and_neither_is_sure() -> None:
    text = "certificate has expired. Hostname mismatch"
    assert set(slugs(text)) == {"expired", "wrong-name"}
    assert not is_sure(text)


def test_a_sign_that_may_mean_the_same_and_more_adds_nothing() -> None:
    text = (
        "http: TLS handshake error from 10.0.0.1:1: no certificate available\n"
        "remote error: tls: internal error"
    )
    assert slugs(text) == ["no-server-certificate"]
    assert is_sure(text)


def test_a_connection_that_ended_adds_nothing_to_its_cause() -> None:
    text = "certificate has expired\nConnection reset by peer"
    assert slugs(text) == ["expired"]
    assert is_sure(text)


def test_a_short_sign_counts_beside_a_longer_one_that_holds_it_too() -> None:
    socket = "connect: No such file or directory (2)"
    assert slugs(socket) == ["no-such-socket"]
    both = f"{socket}; FileNotFoundError: [Errno 2] No such file or directory: 'key.pem'"
    assert set(slugs(both)) == {"no-such-socket", "file-missing"}


# Alerts and reasons


def test_every_alert_of_tls_has_its_answer() -> None:
    assert {int(item) for item in ssl.AlertDescription} <= set(ALERTS)
    for number, alert in ALERTS.items():
        text = f"SSL routines::x:ssl/record/rec_layer_s3.c:1586:SSL alert number {number}"
        assert slugs(text) == list(alert.slugs)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)", 48),
        ("SSL routines:ssl3_read_bytes:tlsv1 unrecognized name:ssl/record/rec_layer_s3.c", 112),
        ("ssl/tls alert handshake failure", 40),
        ("OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED", 116),
        ("remote error: tls: internal error", 80),
        ("remote error: tls: error decoding message", 50),
        ("javax.net.ssl.SSLHandshakeException: Received fatal alert: certificate_unknown", 46),
        ("received fatal alert: UnrecognisedName", 112),
        ("received fatal alert: the peer found the certificate to be expired", 45),
        ("the remote party sent a TLS alert: 'InsuffientSecurity'.", 71),
        ("the remote party sent a TLS alert: '112'.", 112),
        ("The TLS protocol defined fatal alert code is 42.", 42),
        (
            "*** Received alert [49]: Access was denied",
            49,
        ),
    ],
)
def test_an_alert_is_known_as_each_library_writes_it(text: str, number: int) -> None:
    assert slugs(text) == list(ALERTS[number].slugs)


def test_an_alert_that_openssl_sends_for_many_errors_is_never_sure() -> None:
    for number in (42, 43, 44, 45, 46, 48, 40, 80):
        assert not is_sure(f"SSL alert number {number}")
    assert {"no-crl", "path-length", "issuer-not-ca"} <= set(slugs("tlsv1 alert unknown ca"))


def test_each_reason_of_openssls_verification_has_its_answer() -> None:
    known = 0
    for number in range(1, 200):
        text = _util.ffi.string(_util.lib.X509_verify_cert_error_string(number)).decode()
        if text.startswith(("unknown certificate verification error", "Invalid certificate verif")):
            continue
        known += 1
        for line in (
            f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {text} (_ssl.c:1032)",
            f"error {number} at 1 depth lookup: {text}",
            f"SSL routines:tls_process_server_certificate:certificate verify failed ({text})",
        ):
            matches = recognise(line)
            assert matches, line
            assert not matches[0].sign.vague, line
    assert known > 70


# Effort


def test_the_effort_grows_only_with_the_length_of_a_hostile_text() -> None:
    begin = time.process_time()
    for piece in ("TLS_error:", "routines:", "verify error:num=", "dial tcp: lookup a on "):
        recognise(piece * (64 * 1024 // len(piece)) + " bad decrypt certificate_verify_failed")
    recognise(" ".join(sign.text for sign in SIGNS))
    assert time.process_time() - begin < 20
