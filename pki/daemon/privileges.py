"""Which names have a role in the CA itself, by its policy as it is now."""

from __future__ import annotations

from collections.abc import Callable

from pki.authz import Policy, Principal
from pki.authz.policy import role_names
from pki.daemon.callers import ADMIN_ROLE, REGISTRAR_ROLE
from pki.daemon.methods import GRANTED_METHODS
from pki.x509.profiles import LeafNames


class Privileges:
    """Answers whether the policy gives one of some names a role in the CA.

    Args:
        policy: returns the policy in force; None if there is none.
    """

    def __init__(self, policy: Callable[[], Policy | None]) -> None:
        self._policy = policy
        # Of the policy that was in force last: each certificate asks twice.
        self._roles_of: tuple[Policy | None, frozenset[str]] = (None, frozenset())

    def __call__(self, names: LeafNames) -> bool:
        """Return whether a certificate with these names could do more in the CA than a workload.

        Without a policy in force nobody knows, so every name counts.
        """
        policy = self._policy()
        if policy is None:
            return True
        of, roles = self._roles_of
        if of is not policy:
            granted = (policy.roles_of_method(method) for method in GRANTED_METHODS)
            roles = frozenset({ADMIN_ROLE, REGISTRAR_ROLE}.union(*granted))
            self._roles_of = (policy, roles)
        principal = Principal(names.spiffe_id, frozenset(names.dns_names), names.subject)
        return not roles.isdisjoint(role_names(policy.roles_of(principal)))
