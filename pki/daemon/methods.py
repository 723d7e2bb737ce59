"""The methods of the CA: who may call which, on which port."""

from __future__ import annotations

_AUTHORITY = "/handfast.ca.v1.Authority/"
_TRUST = "/handfast.ca.v1.Trust/"
_AUDIT = "/handfast.ca.v1.Audit/"
_REGISTRATIONS = "/handfast.ca.v1.Registrations/"
_ROTATION = "/handfast.ca.v1.Rotation/"
_HEALTH = "/grpc.health.v1.Health/"

WATCH_METHOD = _TRUST + "WatchTrust"
METRICS_METHOD = "/handfast.v1.Metrics/Read"
"""What a policy grants to who may read metrics over the network; no gRPC method."""

WORKLOAD_METHODS = frozenset(
    {
        *(_AUTHORITY + name for name in ("Renew", "Revoke")),
        WATCH_METHOD,
        _TRUST + "ReportTrust",
        *(_AUDIT + name for name in ("GetCheckpoint", "AddCosignature")),
        *(_HEALTH + name for name in ("Check", "Watch")),
    }
)
"""Methods that every workload of the trust domain may call, for itself."""

GRANTED_METHODS = frozenset(
    {
        *(_AUTHORITY + name for name in ("IssueBatch", "ListCertificates", "CreateToken")),
        _AUDIT + "GetTile",
        METRICS_METHOD,
        *(
            _REGISTRATIONS + name
            for name in (
                "CreateRegistration",
                "GetRegistration",
                "UpdateRegistration",
                "DeleteRegistration",
                "ListRegistrations",
                "ConfirmRegistrations",
            )
        ),
        *(
            _ROTATION + name
            for name in (
                "GetRotationStatus",
                "GetRootRequest",
                "PrepareIssuer",
                "ActivateIssuer",
                "Distrust",
                "PrepareRoot",
                "ImportAnswers",
                "ActivateRoot",
                "WithdrawRoot",
                "RenewRootLists",
                "AcknowledgeRestoredLog",
            )
        ),
    }
)
"""Methods that need a grant of the CA's policy. Whoever has one has a role in the CA."""
