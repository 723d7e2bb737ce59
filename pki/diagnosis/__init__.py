"""Finds out why mutual TLS fails: observes handshakes and calls, then checks what was observed.

The rules:

1. Observation and checks are apart. ``observe`` does all I/O and decides nothing. ``checks`` takes
   what was observed and a time, does no I/O, and returns findings.
2. A cause is called sure only if it was observed. A cause that is concluded says how likely it is.
3. What the other side says is untrusted: it is bounded in time and size, it is escaped, and nothing
   is believed beyond what a handshake proves.

This module is the front door: what other packages use is imported from here.
"""

from pki.diagnosis.call_failure import explain_failed_handshake
from pki.diagnosis.checks.certificates.issuer_path import quote_name
from pki.diagnosis.checks.other_end import weigh_by_other_end
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.checks.peer_view import examine_caller
from pki.diagnosis.checks.policy import examine_our_role, examine_server_role
from pki.diagnosis.checks.server_name import (
    EXPECTED_NAME,
    ExpectedName,
    parse_expected_name,
    parse_host,
)
from pki.diagnosis.client_check import SERVER_TRUST, check_observations
from pki.diagnosis.credential import read_own_credential
from pki.diagnosis.observe.tls_handshake import Handshake, make_handshake
from pki.diagnosis.report import (
    Finding,
    Report,
    Status,
    replace_guesses,
    replace_repeated_causes,
    worst_status,
)
from pki.diagnosis.server_observations import Observations, ServerExamination, observe_server
from pki.diagnosis.stand_in import Caller, CallerOutcome, StandIn

__all__ = [
    "EXPECTED_NAME",
    "SERVER_TRUST",
    "Caller",
    "CallerOutcome",
    "ExpectedName",
    "Finding",
    "Handshake",
    "Observations",
    "OwnCredential",
    "Report",
    "ServerExamination",
    "StandIn",
    "Status",
    "check_observations",
    "examine_caller",
    "examine_our_role",
    "examine_server_role",
    "explain_failed_handshake",
    "make_handshake",
    "observe_server",
    "parse_expected_name",
    "parse_host",
    "quote_name",
    "read_own_credential",
    "replace_guesses",
    "replace_repeated_causes",
    "weigh_by_other_end",
    "worst_status",
]
