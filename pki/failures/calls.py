"""Failures of a call on a working connection: roles, policy, and what the runtime reports."""

from __future__ import annotations

from pki.failures.failure import Failure

CALLS = (
    Failure(
        "no-role",
        "the caller has no role",
        "The certificate is good, but no role in the policy lists one of its names.",
        "Add the caller's name to [roles]; handfast policy explain --peer NAME --method PATH says "
        "which names were tried.",
        "NO_ROLE",
    ),
    Failure(
        "not-granted",
        "no grant names the method",
        "The caller has roles, but no grant gives one of them the method. The method may also not exist.",
        "Add a [[grant]]; handfast policy explain --peer NAME --method PATH shows the nearest grant.",
        "METHOD_NOT_GRANTED",
    ),
    Failure(
        "server-role-missing",
        "the server may not answer this service",
        "The caller's own side refuses: by served_by in the caller's policy, a server of that name may "
        "not answer the service.",
        "Correct served_by, or the peer that the channel is made for.",
        "SERVER_ROLE_MISSING",
    ),
    Failure(
        "deadline",
        "the call had no answer by its deadline",
        "The handler takes longer than the deadline; or no connection was made in that time, which gRPC "
        "reports as the deadline alone when a call waits for a connection (wait_for_ready).",
        "Test the connection: handfast doctor TARGET --credential DIR. If it works, check the handler "
        "and the deadline.",
    ),
    Failure(
        "policy-unavailable",
        "there is no policy in force",
        "The policy file, the server's or the caller's own, was removed, or could not be read for longer "
        "than the grace period: every call is refused.",
        "Put the policy file back, or make it readable; handfast policy check FILE says whether it is good.",
        "POLICY_UNAVAILABLE",
    ),
    Failure(
        "authorization-error",
        "the server could not authorize the call",
        "Something failed in the server while it authorized the call, and so it refused the call.",
        "The server's log says what failed (logger handfast.access). Report it as a bug in handfast.",
        "AUTHORIZATION_ERROR",
    ),
    Failure(
        "credential-ended",
        "a certificate expired during the call",
        "The call lasted longer than a certificate (the client's or the server's) with which its "
        "connection began; or the drain time after a rotation was over; or our own certificate has "
        "expired and was not renewed.",
        "Call again: the call gets a new connection. If it fails again, renew our own certificate: "
        "handfast renew DIR.",
        "CREDENTIAL_ENDED",
    ),
    Failure(
        "server-certificate-rejected",
        "our own side refuses the server",
        "The channel verified the server's certificate and does not accept it: it is revoked, expired, "
        "of another workload, or untrusted. The result in the error's metadata says which.",
        "Run: handfast doctor TARGET --credential DIR --name PEER.",
        "SERVER_CERTIFICATE_REJECTED",
    ),
    Failure(
        "server-unverified",
        "the server's certificate could not be verified",
        "Before its first call a channel verifies the server in a handshake of its own, and this handshake "
        "failed.",
        "Run: handfast doctor TARGET --credential DIR --name PEER.",
        "SERVER_UNVERIFIED",
    ),
)
