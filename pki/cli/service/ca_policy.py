"""The policy of the CA itself: a first one, and the command that adds an admin to it."""

from __future__ import annotations

import re
from pathlib import Path

from pki.authz import MAX_POLICY_BYTES, Principal, read_policy
from pki.authz.policy import role_names
from pki.daemon.callers import ADMIN_ROLE
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded, write_durably
from pki.files.open_folder import PUBLIC
from pki.identity import SpiffeId, TrustDomain, derive_names

CA_POLICY = "policy.toml"

_TEMPLATE = """\
# Who may do what in this CA. Every workload of the trust domain may renew and revoke its own
# certificate and follow what is trusted; that needs no role.
trust_domain = "{trust_domain}"

[roles]
# handfast ca admin NAME adds a name here.
ca-admin = [
{admins}]
# A registrar decides on the paths that the scopes of its grant name, and on all below them.
# registrar = ["spiffe://{trust_domain}/ci"]

[[grant]]
role = "ca-admin"
methods = [
  "/handfast.ca.v1.Audit/*",
  "/handfast.ca.v1.Authority/*",
  "/handfast.ca.v1.Registrations/*",
  "/handfast.ca.v1.Rotation/*",
]

# [[grant]]
# role = "registrar"
# methods = [
#   "/handfast.ca.v1.Authority/CreateToken",
#   "/handfast.ca.v1.Authority/IssueBatch",
#   "/handfast.ca.v1.Authority/ListCertificates",
#   "/handfast.ca.v1.Registrations/*",
# ]
# scopes = ["register:/prod"]
"""
_NO_ADMIN = """\
# Who may do what in this CA. Every workload of the trust domain may renew and revoke its own
# certificate and follow what is trusted; that needs no role. There is no admin yet:
# handfast ca admin NAME adds one.
trust_domain = "{trust_domain}"

[roles]
"""
_LIST = re.compile(r"^(ca-admin\s*=\s*\[)", re.MULTILINE)


def ensure_policy(path: Path, trust_domain: TrustDomain) -> bool:
    """Write a policy without any admin, if there is none; return whether it was written."""
    if path.exists():
        return False
    text = _NO_ADMIN.format(trust_domain=trust_domain.name)
    write_durably(path, text.encode(), mode=PUBLIC, replace=False)
    return True


def add_admin(path: Path, spiffe_id: SpiffeId) -> bool:
    """Give a workload the role ``ca-admin``; return False if it has it already.

    The file stays as it is otherwise. A file that was written in another way is not changed.

    Raises:
        StateError: if the file can't be changed safely: then it says what to write by hand.
        PolicyError: if the file is no good policy.
    """
    domain = spiffe_id.trust_domain.name
    entry = f'  "{spiffe_id}",\n'
    before = _read(path)
    if before is None or before == _NO_ADMIN.format(trust_domain=domain):
        _write(path, _TEMPLATE.format(trust_domain=domain, admins=entry), spiffe_id)
        return True
    if _is_admin(before, spiffe_id):
        return False
    after, number = _LIST.subn(lambda found: f"{found[1]}\n{entry}", before, count=1)
    if number != 1:
        raise StateError(
            f"{quote_untrusted(path)} has no list ca-admin = [...] under [roles]",
            remedy=f'Write it by hand: ca-admin = ["{spiffe_id}"], with a [[grant]] for '
            "/handfast.ca.v1.Audit/*, /handfast.ca.v1.Authority/*, "
            "/handfast.ca.v1.Registrations/* and /handfast.ca.v1.Rotation/*",
        )
    _write(path, after, spiffe_id)
    return True


def _read(path: Path) -> str | None:
    try:
        data, _ = read_bounded(path, max_bytes=MAX_POLICY_BYTES)
    except FileNotFoundError:
        return None
    # Checked as a whole before anything is changed.
    read_policy(data, source=path.name)
    return data.decode()


def _write(path: Path, text: str, spiffe_id: SpiffeId) -> None:
    if not _is_admin(text, spiffe_id):
        raise StateError(
            f"{quote_untrusted(path)} would not give {spiffe_id} the role {ADMIN_ROLE}",
            remedy="Change it by hand",
        )
    write_durably(path, text.encode(), mode=PUBLIC)


def _is_admin(text: str, spiffe_id: SpiffeId) -> bool:
    policy = read_policy(text.encode(), source=CA_POLICY)
    derived = derive_names(spiffe_id)
    dns = frozenset() if derived.dns is None else frozenset({derived.dns})
    principal = Principal(spiffe_id, dns, derived.subject)
    return ADMIN_ROLE in role_names(policy.roles_of(principal))
