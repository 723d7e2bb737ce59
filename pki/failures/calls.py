"""Failures of a call on a connection that stands: roles, policy, and what the runtime says."""

from __future__ import annotations

from pki.failures.failure import Failure

CALLS = (
    Failure(
        "no-role",
        "the caller has no role",
        "The certificate is good, and none of its names stands under a role in the policy.",
        "Add the caller's name to [roles]; handfast policy explain --peer NAME --method PATH says "
        "what was tried.",
        "NO_ROLE",
    ),
    Failure(
        "not-granted",
        "no grant names the method",
        "The caller has roles, and none of them is granted the method, be it known or unknown.",
        "Add a [[grant]]; handfast policy explain --peer NAME --method PATH says what missed nearest.",
        "METHOD_NOT_GRANTED",
    ),
    Failure(
        "server-role-missing",
        "the server may not answer this service",
        "On the caller's own side: by served_by in the policy, a server of that name may not answer "
        "the service.",
        "Correct served_by, or the peer that the channel is made for.",
        "SERVER_ROLE_MISSING",
    ),
    Failure(
        "deadline",
        "the call had no answer by its deadline",
        "The handler takes longer than the caller waits; or no connection came about in that time, "
        "which gRPC tells no further where a call waits for it (wait_for_ready).",
        "See whether a connection comes about: handfast doctor TARGET --credential DIR. If it does, "
        "look at the handler, and at the deadline.",
    ),
    Failure(
        "policy-unavailable",
        "the server has no policy to decide by",
        "The policy file was removed, or could not be read for a while, and its grace is over: everything "
        "is refused.",
        "Put the policy file back, or make it readable; handfast policy check FILE says whether it is good.",
        "POLICY_UNAVAILABLE",
    ),
    Failure(
        "authorization-error",
        "the server could not judge the call",
        "Something failed in the server while it judged the caller; what cannot be judged is refused.",
        "The server's log says what failed (logger handfast.rpc). Report it as a fault of handfast.",
        "AUTHORIZATION_ERROR",
    ),
    Failure(
        "credential-ended",
        "a certificate ended under the call",
        "The call outlived the certificate, either side's, that its connection began with; or our own "
        "has ended and no other came.",
        "Call again: a new connection is used. If it stays so, our own is not renewed: "
        "handfast renew DIR.",
        "CREDENTIAL_ENDED",
    ),
    Failure(
        "server-certificate-rejected",
        "our own side refuses the server",
        "The channel looked at the server, and does not accept what it shows: revoked, expired, "
        "another workload, or untrusted. The verdict says which.",
        "Run: handfast doctor TARGET --credential DIR --name PEER.",
        "SERVER_CERTIFICATE_REJECTED",
    ),
    Failure(
        "server-unverified",
        "the server could not be looked at",
        "Before its first call a channel shakes hands with the server by itself, and that failed.",
        "Run: handfast doctor TARGET --credential DIR --name PEER.",
        "SERVER_UNVERIFIED",
    ),
)
