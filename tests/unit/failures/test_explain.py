"""Error texts from the logs of many parties, and what they are recognised as."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access import refusal
from pki.cli.app import run
from pki.failures import FAILURES, SIGNS, Sign, recognise
from pki.x509 import Fault

ROOT = Path(__file__).resolve().parents[3]

SURE = [
    # grpcio, as a client
    ("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8443: Hostname Verification Check failed.", "wrong-name"),
    ("ipv4:127.0.0.1:1: Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired", "expired"),
    ("UNKNOWN: ipv4:10.0.0.1:443: Failed to connect to remote host: connect: Connection refused (111)", "not-listening"),
    ("DNS resolution failed for nowhere.internal:443: C-ares status is not ARES_SUCCESS", "no-such-host"),
    ("Cannot check peer: missing selected ALPN property.", "not-http2"),
    ("StatusCode.UNIMPLEMENTED Method not found!", "unknown-method"),
    ("connect: No such file or directory (2)", "no-such-socket"),
    ("connect: Permission denied (13)", "socket-permission"),
    # a grpcio server's stderr
    ("I1124 00:04:36.021379 11488 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: error:100000c0:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid certificate verification context", "no-client-certificate"),
    ("I1124 00:04:36 1 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate is not yet valid", "not-yet-valid"),
    ("ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: error:1000009c:SSL routines:OPENSSL_internal:HTTP_REQUEST: Invalid certificate verification context", "plaintext-client"),
    ("ssl_transport_security.cc:1] Handshake failed with error SSL_ERROR_SSL: error:100000d5:SSL routines:OPENSSL_internal:NO_COMMON_SIGNATURE_ALGORITHMS", "unsupported-key"),
    # Go
    ('rpc error: code = Unavailable desc = connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate is valid for a.internal, not b.internal"', "wrong-name"),
    ("x509: certificate has expired or is not yet valid: current time 2026-11-23T12:00:00Z is after 2026-11-22T12:00:00Z", "expired"),
    ("x509: certificate has expired or is not yet valid: current time 2026-11-23T12:00:00Z is before 2026-11-24T12:00:00Z", "not-yet-valid"),
    ("x509: certificate relies on legacy Common Name field, use SANs instead", "no-san"),
    ("remote error: tls: certificate required", "no-client-certificate"),
    ("tls: client didn't provide a certificate", "no-client-certificate"),
    ("http: TLS handshake error from 10.0.0.2:4711: client sent an HTTP request to an HTTPS server", "plaintext-client"),
    ("x509: certificate specifies an incompatible key usage", "wrong-usage"),
    ("tls: private key does not match public key", "key-mismatch"),
    # Java
    ("java.security.cert.CertificateExpiredException: NotAfter: Sun Nov 22 12:00:00 UTC 2026", "expired"),
    ("java.security.cert.CertificateException: No subject alternative DNS name matching b.internal found.", "wrong-name"),
    ("java.security.cert.CertificateException: No name matching localhost found", "wrong-name"),
    ("javax.net.ssl.SSLHandshakeException: Received fatal alert: certificate_required", "no-client-certificate"),
    ("javax.net.ssl.SSLHandshakeException: Empty client certificate chain", "no-client-certificate"),
    ("sun.security.validator.ValidatorException: Extended key usage does not permit use for TLS client authentication", "wrong-usage"),
    ("javax.net.ssl.SSLHandshakeException: Received fatal alert: protocol_version", "protocol-version"),
    ("javax.net.ssl.SSLHandshakeException: Remote host terminated the handshake", "closed-without-reason"),
    ("java.security.cert.CertificateNotYetValidException: NotBefore: ...", "not-yet-valid"),
    # OpenSSL, Python, curl
    ("verify error:num=10:certificate has expired", "expired"),
    ("140:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:ssl/record/rec_layer_s3.c:1605:SSL alert number 116", "no-client-certificate"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for 'b'. (_ssl.c:1006)", "wrong-name"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)", "self-signed"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain (_ssl.c:1006)", "unknown-ca"),
    ("error 24 at 1 depth lookup: CRL has expired", "stale-crl"),
    ("[SSL: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:3900)", "key-mismatch"),
    ("curl: (60) SSL: no alternative certificate subject name matches target host name 'b'", "wrong-name"),
    ("permitted subtree violation", "name-constraint"),
    # Envoy, nginx
    ("TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: verify SAN list:TLS_error_end", "wrong-name"),
    ("verify cert failed: X509_verify_cert: certificate verification error at depth 0: certificate has expired", "expired"),
    ("client sent no required SSL certificate while reading client request headers, client: 10.0.0.2", "no-client-certificate"),
    ("client SSL certificate verify error: (23:certificate revoked) while reading client request headers", "revoked"),
    ("client SSL certificate verify error: (12:CRL has expired) while reading client request headers", "stale-crl"),
    ("400 The plain HTTP request was sent to HTTPS port", "plaintext-client"),
    # rustls
    ("invalid peer certificate: NotValidForName", "wrong-name"),
    ("received fatal alert: CertificateRequired", "no-client-certificate"),
    # more of grpcio
    ("StatusCode.UNAVAILABLE: Peer name b.internal is not in peer certificate", "wrong-name"),
    ("Received http2 header with status: 502", "proxy-failed"),
    ("Cannot check peer: missing selected ALPN property", "not-http2"),
    ("Hostname Verification Check failed", "wrong-name"),
    # more of OpenSSL and nginx
    ("error:0A000102:SSL routines::unsupported protocol", "protocol-version"),
    ("error 25 at 2 depth lookup: path length constraint exceeded", "path-length"),
    ("140:error:0A0000EB:SSL routines:tls_handle_alpn:no application protocol:ssl/statem/statem_srvr.c:2319:", "not-http2"),
    ("client SSL certificate verify error: (22:certificate chain too long) while reading client request headers", "chain-too-long"),
    ('upstream SSL certificate does not match "b.internal" while SSL handshaking to upstream', "wrong-name"),
    # GnuTLS
    ("Status: The certificate is NOT trusted. The name in the certificate does not match the expected. ", "wrong-name"),
    ("Status: The certificate is NOT trusted. The certificate chain uses expired certificate. ", "expired"),
    ("*** Received alert [116]: Certificate is required", "no-client-certificate"),
    ("*** Fatal error: The TLS connection was non-properly terminated.", "closed-without-reason"),
    # Node
    ("Error: self-signed certificate { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }", "self-signed"),
    ("code: 'SELF_SIGNED_CERT_IN_CHAIN'", "unknown-ca"),
    ("Hostname/IP does not match certificate's altnames: Host: b. is not in the cert's altnames: DNS:a { code: 'ERR_TLS_CERT_ALTNAME_INVALID' }", "wrong-name"),
    ("Error: certificate has expired { code: 'CERT_HAS_EXPIRED' }", "expired"),
    ("CERT_HAS_EXPIRED", "expired"),
    ("Error: read ECONNRESET", "closed-without-reason"),
    ("connect ECONNREFUSED 127.0.0.1:8443", "not-listening"),
    # newer rustls, tonic
    ("invalid peer certificate: certificate expired: verification time 1764000000 (UNIX), but certificate is not valid after 1763000000 (1000000 seconds ago)", "expired"),
    ("invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but certificate is not valid before 2 (1 seconds in future)", "not-yet-valid"),
    ('invalid peer certificate: certificate not valid for name "b"; certificate is only valid for DnsName("a")', "wrong-name"),
    ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "ca-as-leaf"),
    ("peer is incompatible: NoCipherSuitesInCommon", "cipher-mismatch"),
    ("peer doesn't support any known protocol", "not-http2"),
    ("transport error: tls handshake eof", "closed-without-reason"),
    # more of Go
    ("x509: too many intermediates for path length constraint", "path-length"),
    ('remote error: unexpected ID "spiffe://shop.internal/audit"', "wrong-name"),
    ("dial tcp 10.0.0.1:8443: i/o timeout", "unreachable"),
    ("dial tcp: lookup orders on 10.96.0.10:53: read udp 10.0.0.2:4711->10.96.0.10:53: i/o timeout", "no-such-host"),
    ("http: TLS handshake error from 10.0.0.2:4711: read tcp 10.0.0.1:8443->10.0.0.2:4711: i/o timeout", "handshake-timeout"),
    # more of Java
    ("PKIX path validation failed: java.security.cert.CertPathValidatorException: signature check failed", "bad-signature"),
    ("The server selected protocol version TLS10 is not accepted by client preferences [TLS13, TLS12]", "protocol-version"),
    ("server selected protocol version TLS10", "protocol-version"),
    ("UNAVAILABLE: Failed ALPN negotiation: Unable to find compatible protocol", "not-http2"),
    # .NET
    ("The remote certificate is invalid according to the validation procedure: RemoteCertificateNameMismatch", "wrong-name"),
    ("Received an unexpected EOF or 0 bytes from the transport stream.", "closed-without-reason"),
    # ours
    ('{"rpc_method": "/a.B/C", "authorized": false, "reason": "NO_ROLE", "roles": []}', "no-role"),
    ("the certificate at the address of spiffe://shop.internal/server was revoked", "revoked"),
    ("private key does not belong to the certificate. Bring the key and the chain", "key-mismatch"),
]  # fmt: skip

SEVERAL = [
    ("Authentication failed because the remote party sent a TLS alert: 'CertificateExpired'.", "expired"),
    ("Socket closed", "closed-without-reason"),
    ("recvmsg:Connection reset by peer", "closed-without-reason"),
    ("CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate", "unknown-ca"),
    ("PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid certification path to requested target", "unknown-ca"),
    ("remote error: tls: bad certificate", "client-refused"),
    ("x509: certificate signed by unknown authority", "unknown-ca"),
    ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "plaintext-server"),
    ("sslv3 alert handshake failure", "cipher-mismatch"),
    ("upstream connect error or disconnect/reset before headers. reset reason: connection failure, transport failure reason: TLS error: 268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", "unknown-ca"),
    ("CERTIFICATE_VERIFY_FAILED", "unknown-ca"),
    ("SSL: certificate verify failed", "unknown-ca"),
    ("PKIX path validation failed: java.security.cert.CertPathValidatorException: validity check failed", "expired"),
    ("javax.net.ssl.SSLHandshakeException: PKIX path validation failed", "expired"),
    ("UNAVAILABLE: Network closed for unknown reason", "closed-without-reason"),
    ("connection attempt timed out before receiving SETTINGS frame", "handshake-timeout"),
    ("StatusCode.DEADLINE_EXCEEDED Deadline Exceeded", "deadline"),
    ("read tcp: i/o timeout", "unreachable"),
    ("The remote certificate is invalid because of errors in the certificate chain: UntrustedRoot", "unknown-ca"),
    ("The remote certificate is invalid because of errors in the certificate chain: PartialChain", "incomplete-chain"),
    ("Cannot determine the frame size or a corrupted frame was received.", "plaintext-server"),
    ("The certificate is NOT trusted. The certificate issuer is unknown.", "unknown-ca"),
    ("I1124 00:04:36 1 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification context", "plaintext-client"),
    ("x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs", "wrong-name"),
    ("x509: certificate is not valid for any names, but wanted to match a.internal", "wrong-name"),
]  # fmt: skip

UNKNOWN = [
    "",
    " ",
    "all is well",
    "certificate",
    "TLS",
    "expired milk",
    "connection refused by user policy",
    'Get "": unsupported protocol scheme ""',
    "SyntaxError: Unexpected identifier 'spiffe'",
    "\0\0\0",
    "ошибка",
    "🙂" * 100,
]


@pytest.mark.parametrize(("text", "slug"), SURE)
def test_a_text_that_says_its_cause_is_recognised_surely(text: str, slug: str) -> None:
    (match,) = recognise(text)
    assert match.failure.slug == slug
    assert match.sure


@pytest.mark.parametrize(("text", "first"), SEVERAL)
def test_a_text_that_may_mean_several_things_is_not_taken_for_one(text: str, first: str) -> None:
    matches = recognise(text)
    assert len(matches) > 1
    assert matches[0].failure.slug == first
    assert not any(match.sure for match in matches)


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_says_nothing_is_not_recognised(text: str) -> None:
    assert recognise(text) == ()


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        (
            "E1124 ssl_transport_security.cc:1839] No match found for server name: b.internal",
            "wrong-name",
        ),
        ("http: TLS handshake error from 10.0.0.2:4711: EOF", "closed-without-reason"),
    ],
)
def test_a_text_that_is_also_written_where_nothing_failed_is_never_sure(
    text: str, slug: str, told: Told
) -> None:
    (match,) = recognise(text)
    assert (match.failure.slug, match.sure) == (slug, False)
    assert "so may others" in told(text)[1]


def test_vague_words_count_only_where_nothing_else_is_known() -> None:
    text = "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate; i/o timeout"
    found = [match.failure.slug for match in recognise(text)]
    assert found == ["unknown-ca", "incomplete-chain"]
    text = "No match found for server name: b. Handshake failed: CERTIFICATE_VERIFY_FAILED: certificate has expired"
    assert [match.failure.slug for match in recognise(text)] == ["expired"]


def test_words_within_others_of_another_meaning_do_not_hide_those_that_count() -> None:
    text = "connection refused by user policy. curl: connect failed: Connection refused"
    assert [match.failure.slug for match in recognise(text)] == ["not-listening"]


def test_a_text_in_a_traceback_over_several_lines_is_recognised() -> None:
    text = 'Traceback:\n  <_InactiveRpcError of RPC that terminated with:\n\tdetails = "Hostname\n  Verification Check failed."\n>'
    assert [match.failure.slug for match in recognise(text)] == ["wrong-name"]


def test_only_the_first_part_of_a_huge_text_counts() -> None:
    assert recognise("x" * 70_000 + "certificate has expired") == ()
    assert recognise("ssl_transport_security " * 500_000)[:1] == ()


def test_a_text_without_a_cause_still_finds_what_is_said_beside_noise() -> None:
    noise = "a" * 20_000
    (match,) = recognise(f"{noise} certificate is not yet valid {noise}")
    assert match.failure.slug == "not-yet-valid"


def test_every_sign_stands_for_failures_that_there_are() -> None:
    for sign in SIGNS:
        assert set(sign.slugs) <= set(FAILURES), sign
        assert sign.pieces, sign


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.party}: {sign.text}"[:80])
def test_each_sign_is_recognised_by_its_own_words(sign: Sign) -> None:
    found = [match.failure.slug for match in recognise("xyz".join(sign.text.split("…")))]
    assert sign.slugs[0] in found


def test_every_reason_of_the_runtime_is_recognised() -> None:
    for name in dict(ErrorReason.items()):
        if not name.endswith("UNSPECIFIED"):
            assert recognise(f'"reason": "{name}"'), name


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        (
            refusal.server_unverified("spiffe://a.test/b", "", "no answer").message,
            "server-unverified",
        ),
        (refusal.AUTHORIZATION_ERROR.message, "authorization-error"),
        (refusal.POLICY_UNAVAILABLE.message, "policy-unavailable"),
        (refusal.OWN_POLICY_UNAVAILABLE.message, "policy-unavailable"),
        (refusal.NO_CERTIFICATE.message, "no-client-certificate"),
        (refusal.CREDENTIAL_ENDED.message, "credential-ended"),
        (refusal.OWN_CREDENTIAL_ENDED.message, "credential-ended"),
        (refusal.client_refusal(Fault.REVOKED).message, "revoked"),
        (refusal.server_refusal("spiffe://a.test/b", Fault.NAME_MISMATCH).message, "wrong-name"),
    ],
)
def test_what_a_refused_caller_reads_is_recognised(text: str, slug: str) -> None:
    assert [item.failure.slug for item in recognise(text)] == [slug]


def test_every_fault_of_a_chain_has_a_failure_of_its_result_name() -> None:
    results = {item.handshake_result for item in FAILURES.values()}
    assert {fault.handshake_result for fault in Fault} <= results


def test_the_pages_are_those_of_the_table() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_failures.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


# The command

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["explain", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_command_says_cause_remedy_and_who_said_it(told: Told) -> None:
    code, out, _ = told("Hostname Verification Check failed.")
    assert code == 0
    assert "wrong-name" in out
    assert "Remedy:" in out
    assert "grpcio client" in out


def test_the_command_sends_who_is_not_understood_to_the_doctor(told: Told) -> None:
    code, out, _ = told("nothing of the kind")
    assert code == 1
    assert "handfast doctor" in out


def test_the_command_reads_standard_input(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped(io.StringIO):
        buffer = io.BytesIO(b"\xff\xfe certificate has expired")

    monkeypatch.setattr(sys, "stdin", Piped())
    code, out, _ = told("-", "--json")
    assert code == 0
    assert json.loads(out)["matches"][0]["failure"] == "expired"


def test_the_command_reads_a_log_of_windows(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped(io.StringIO):
        buffer = io.BytesIO("certificate has expired".encode("utf-16"))

    monkeypatch.setattr(sys, "stdin", Piped())
    assert json.loads(told("-", "--json")[1])["matches"][0]["failure"] == "expired"


@pytest.mark.parametrize("filler", ["x\n", "ü\n"])
def test_a_log_that_is_longer_than_what_is_read_is_told_as_such(
    told: Told, monkeypatch: pytest.MonkeyPatch, filler: str
) -> None:
    def piped(text: str) -> io.StringIO:
        class Piped(io.StringIO):
            buffer = io.BytesIO(text.encode())

        return Piped()

    text = filler * 200_000 + "certificate has expired\n"
    monkeypatch.setattr(sys, "stdin", piped(text))
    code, out, _ = told("-")
    assert code == 1
    assert "Only the first 65536 characters were read" in out
    monkeypatch.setattr(sys, "stdin", piped("certificate has expired\n" + text))
    code, out, _ = told("-", "--json")
    assert code == 0
    assert json.loads(out)["truncated"] is True
    monkeypatch.setattr(sys, "stdin", piped("certificate has expired\n"))
    assert json.loads(told("-", "--json")[1])["truncated"] is False
    assert "Only the first" in told(text)[1]


def test_empty_standard_input_is_an_error(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    class Piped(io.StringIO):
        buffer = io.BytesIO(b"")

    monkeypatch.setattr(sys, "stdin", Piped())
    assert told("-")[0] == 1


def test_the_command_shows_a_failure_by_its_name(told: Told) -> None:
    code, out, _ = told("stale-crl")
    assert code == 0
    assert "handfast crl" in out


def test_the_command_lists_all_failures(told: Told) -> None:
    code, out, _ = told("--list", "--json")
    assert code == 0
    assert {item["failure"] for item in json.loads(out)["failures"]} == set(FAILURES)
