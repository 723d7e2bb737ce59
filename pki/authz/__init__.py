"""Authorization: a principal's roles by a policy, and what they may call. No I/O, no clock."""

from pki.authz.decision import Decision, Reason, RoleMatch
from pki.authz.enforcement import Enforce, Enforcement, EnforcementRule
from pki.authz.explain import Explanation, NameTried, explain
from pki.authz.policy import Grant, Policy, ServedBy
from pki.authz.principal import Principal
from pki.authz.reader import MAX_POLICY_BYTES, read_policy

__all__ = [
    "MAX_POLICY_BYTES",
    "Decision",
    "Enforce",
    "Enforcement",
    "EnforcementRule",
    "Explanation",
    "Grant",
    "NameTried",
    "Policy",
    "Principal",
    "Reason",
    "RoleMatch",
    "ServedBy",
    "explain",
    "read_policy",
]
