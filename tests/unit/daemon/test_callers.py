"""Who a caller is to the CA: by the roles and scopes of the CA's policy."""

import pytest

from pki.access.peer import Peer
from pki.authz import read_policy
from pki.daemon.callers import caller_of
from pki.daemon.privileges import Privileges
from pki.identity import DnsName, SpiffeId, Subject, derive_names
from pki.x509 import CertificateNames
from pki.x509.profiles import LeafNames
from tests.ca_service import POLICY
from tests.support import NOW, SHOP


def peer(roles: tuple[str, ...], *scopes: str) -> Peer:
    spiffe_id = SpiffeId.of_path(SHOP, "ci")
    names = CertificateNames(Subject(()), (str(spiffe_id),), (), ())
    return Peer(spiffe_id, names, roles, frozenset(scopes), 1, "CN=ca", NOW)


@pytest.mark.parametrize(
    ("scope", "yes", "no"),
    [
        ("register:/prod", ["prod", "prod/orders"], ["production", "orders", "x/prod"]),
        ("register:/", ["orders", "prod/orders"], []),
        ("register:/prod/eu", ["prod/eu/orders"], ["prod/us/orders", "prod"]),
        ("register:prod", [], ["prod", "prod/orders"]),
        ("register:/prod/", [], ["prod", "prod/orders"]),
        ("orders:read", [], ["orders"]),
    ],
)
def test_a_registrars_scopes_are_its_paths(scope: str, yes: list[str], no: list[str]) -> None:
    caller = caller_of(peer(("registrar",), scope))
    assert not caller.is_admin
    for path in yes:
        assert caller.may_decide_on(SpiffeId.of_path(SHOP, path)), path
    for path in no:
        assert not caller.may_decide_on(SpiffeId.of_path(SHOP, path)), path


def test_the_admin_role_alone_makes_an_admin() -> None:
    assert caller_of(peer(("ca-admin",))).is_admin
    assert not caller_of(peer(("admin", "ca-admins"))).is_admin


def names(path: str, *dns: str) -> LeafNames:
    spiffe_id = SpiffeId.of_path(SHOP, path)
    derived = derive_names(spiffe_id)
    return LeafNames(derived.subject, spiffe_id, tuple(DnsName(name) for name in dns))


def test_every_name_that_the_policy_lets_decide_something_is_privileged() -> None:
    extra = """
[[grant]]
role = "lister"
methods = ["/handfast.ca.v1.Authority/ListCertificates"]
[[grant]]
role = "harmless"
methods = ["/shop.v1.Orders/*"]
"""
    text = POLICY.replace(
        "[roles]",
        '[roles]\nlister = ["dns:lists.example.com"]\n'
        'harmless = ["spiffe://shop.internal/front"]\n'
        'host = ["subject:CN=boss,O=shop.internal"]',
    )
    text = text.replace('/ops"]', '/ops", "subject:CN=boss,O=shop.internal"]')
    policy = read_policy((text + extra).encode(), source="policy.toml")
    is_privileged = Privileges(lambda: policy)
    for privileged in (names("ops"), names("ci"), names("x", "lists.example.com"), names("boss")):
        assert is_privileged(privileged), privileged
    for plain in (names("orders"), names("front"), names("ops/child"), names("opsx")):
        assert not is_privileged(plain), plain


def test_without_a_policy_every_name_is_privileged() -> None:
    assert Privileges(lambda: None)(names("orders"))
