"""A CA whose keys live in a PKCS#11 token: all that it does, with a real module."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pki.authority import Authority
from pki.authority.issuing import issuance
from pki.authority.orders import order_leaf
from pki.authority.signers import KeyAbsentError, Pkcs11Uri, TokenAbsentError
from pki.authority.signers.new_key import IN_FILE, KeyPlace
from pki.errors import KeyRefusedError, NotPermittedError
from pki.keys import IdentifiedKey, KeyType, generate_key
from pki.x509 import WORKLOAD, CrlSet
from tests.softhsm import PIN, SoftHsm, plan_of, run_handfast, verify_issued
from tests.support import SHOP, Clock, request_for


@pytest.fixture
def ca(ca_in_token: Authority) -> Authority:
    return ca_in_token


def test_a_ca_in_a_token_issues_renews_revokes_rotates_and_distrusts(
    ca: Authority,
) -> None:
    first = ca.issue("orders")
    verify_issued(ca, first)
    renewed = ca.renew(first.leaf)
    verify_issued(ca, renewed)
    ca.revoke(renewed.leaf.serial_number)
    published = CrlSet.read((ca.path / "crl.pem").read_bytes())
    listed = {number for item in published.crls.values() for number in item.revoked}
    assert renewed.leaf.serial_number in listed
    assert ca.refresh_crls(force=True) == 1
    before = ca.issuers()[1]
    record = ca.rotate()
    assert ca.key_place(record).startswith("pkcs11:token=ca-")
    assert ca.key_place(record) != ca.key_place(before)
    assert ca.issue("payments").chain[1] == record.certificate
    ca.distrust(before.key_id)
    assert ca.signing_intents() == ()


def test_no_private_key_is_in_any_file_of_the_ca(ca: Authority, softhsm: SoftHsm) -> None:
    ca.issue("orders")
    record = ca.issuers()[1]
    assert sorted(path.name for path in ca.path.glob("issuing-*")) == [
        f"issuing-{record.key_id}.key.toml"
    ]
    (ca.path / "root.key.pem").unlink()
    for path in set(ca.path.iterdir()) - {ca.path / "audit.key.pem"}:
        data = path.read_bytes()
        assert b"PRIVATE KEY" not in data, path
        assert PIN.encode() not in data or path.suffix != ".toml", path
        assert str(softhsm.module).encode() not in data, path


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P384, KeyType.RSA_3072])
def test_other_kinds_of_keys_sign_too(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri, key_type: KeyType
) -> None:
    plan = plan_of(token, key_type=key_type)
    with Authority.create(tmp_path / "ca", plan, tokens=softhsm.access, clock=Clock()) as ca:
        kind = rsa.RSAPublicKey if key_type is KeyType.RSA_3072 else ec.EllipticCurvePublicKey
        assert isinstance(ca.issuers()[1].certificate.public_key(), kind)
        verify_issued(ca, ca.issue("orders"))
        ca.refresh_crls(force=True)


def test_an_ed25519_key_can_not_be_made_in_a_token(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri
) -> None:
    plan = plan_of(token, key_type=KeyType.ED25519)
    with pytest.raises(KeyRefusedError, match="ed25519 can't be made in a token"):
        Authority.create(tmp_path / "ca", plan, tokens=softhsm.access, clock=Clock())


def test_the_roots_key_can_live_in_a_token_of_its_own(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri
) -> None:
    root = softhsm.make_token("root")
    plan = plan_of(token, root_key=KeyPlace(root))
    with Authority.create(tmp_path / "ca", plan, tokens=softhsm.access, clock=Clock()) as ca:
        assert [path.name for path in ca.path.glob("*.key.pem")] == ["audit.key.pem"]
        first = ca.issuers()[1]
        ca.rotate()
        verify_issued(ca, ca.issue("orders"))
        ca.distrust(first.key_id)
        assert ca.signing_intents() == ()


def test_without_the_roots_token_an_issuing_ca_is_distrusted_nevertheless(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri
) -> None:
    before = set(softhsm.tokens.iterdir())
    root = softhsm.make_token("root-in-the-safe")
    (folder,) = set(softhsm.tokens.iterdir()) - before
    plan = plan_of(token, root_key=KeyPlace(root))
    with Authority.create(tmp_path / "ca", plan, tokens=softhsm.access, clock=Clock()) as ca:
        away = folder.rename(softhsm.folder / "in-the-safe")
        leaf = ca.issue("orders")
        record = ca.distrust(ca.issuers()[1].key_id)
        _, crls = ca.trust()
        assert any(record.certificate.serial_number in item.revoked for item in crls.crls.values())
        keys = sorted(ca.path.glob("*.key.toml"))
        with pytest.raises(TokenAbsentError, match="is not there"):
            ca.rotate()
        # The key that was made for it is gone again.
        assert sorted(ca.path.glob("*.key.toml")) == keys
        away.rename(folder)
        ca.rotate()
        assert ca.issue("payments").chain[1] != leaf.chain[1]


def test_a_new_issuing_ca_stays_in_its_token_unless_told_otherwise(ca: Authority) -> None:
    assert ca.key_place(ca.rotate()).startswith("pkcs11:")
    assert ca.key_place(ca.rotate(place=IN_FILE)) == "file"
    assert ca.key_place(ca.rotate()) == "file"
    assert [ca.key_place(item).partition(":")[0] for item in ca.issuers()] == [
        "file",
        "pkcs11",
        "pkcs11",
        "file",
        "file",
    ]


def test_a_key_that_is_in_the_token_already_is_used(
    ca: Authority, tmp_path: Path, softhsm: SoftHsm
) -> None:
    uri = Pkcs11Uri.parse(ca.key_place(ca.issuers()[1]))
    plan = plan_of(uri)
    with Authority.create(tmp_path / "ca2", plan, tokens=softhsm.access, clock=Clock()) as other:
        assert other.issuers()[1].key_id == ca.issuers()[1].key_id
        verify_issued(other, other.issue("orders"))
    with pytest.raises(NotPermittedError, match="one of the CA's own"):
        ca.rotate(place=KeyPlace(uri))
    # The refused rotation made no key, so it destroyed none.
    verify_issued(ca, ca.issue("orders"))


def test_a_key_that_is_not_there_is_refused_before_anything_is_made(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri
) -> None:
    uri = Pkcs11Uri(token.token, key_label="issuing")
    with pytest.raises(KeyAbsentError, match="there is no key"):
        Authority.create(tmp_path / "ca", plan_of(uri), tokens=softhsm.access, clock=Clock())
    assert not (tmp_path / "ca").exists()


def test_a_key_that_could_be_taken_out_of_its_token_is_refused(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri
) -> None:
    pem = tmp_path / "key.pem"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*command, "-out", pem], check=True, capture_output=True)
    imported = ["softhsm2-util", "--import", str(pem), "--token", str(token.token)]
    imported += ["--label", "mine", "--id", "a1", "--pin", PIN]
    subprocess.run(imported, check=True, capture_output=True)
    make_extractable(softhsm, token)
    uri = Pkcs11Uri(token.token, key_label="loose")
    with pytest.raises(KeyRefusedError, match="can be taken out of its token"):
        Authority.create(tmp_path / "ca", plan_of(uri), tokens=softhsm.access, clock=Clock())


def make_extractable(softhsm: SoftHsm, token: Pkcs11Uri) -> None:
    """Make a key that the token would give out, in a process of its own."""
    script = (
        "import sys, pkcs11; from pkcs11 import Attribute as A\n"
        "from pkcs11.util.ec import encode_named_curve_parameters as curve\n"
        f"token = pkcs11.lib(sys.argv[1]).get_token(token_label={token.token!r})\n"
        f"session = token.open(rw=True, user_pin={PIN!r})\n"
        "session.create_domain_parameters(pkcs11.KeyType.EC, "
        "{A.EC_PARAMS: curve('secp256r1')}, local=True).generate_keypair(store=True, "
        "label='loose', private_template={A.EXTRACTABLE: True, A.SENSITIVE: False})\n"
    )
    subprocess.run([sys.executable, "-c", script, str(softhsm.module)], check=True)


def test_a_csr_for_a_key_of_the_ca_in_a_token_is_refused(ca: Authority) -> None:
    # The public keys of the CA are refused wherever their private ones live.
    public_key = ca.issuers()[1].certificate.public_key()
    key = IdentifiedKey.of(public_key)  # type: ignore[arg-type]
    order = order_leaf("orders", SHOP, key, (), (), None, WORKLOAD)
    with pytest.raises(NotPermittedError, match="one of the CA's own"):
        issuance.issue(ca._context, order)
    assert ca.signing_intents() == ()


def test_one_order_that_is_asked_for_twice_at_once_gets_one_certificate(
    ca: Authority,
) -> None:
    request = request_for(generate_key()).public_bytes(Encoding.PEM)
    with ThreadPoolExecutor(4) as pool:
        issued = list(pool.map(lambda _: ca.issue_request("orders", request), range(4)))
    assert len({item.leaf.serial_number for item in issued}) == 1
    assert len(ca.certificates()) == 1


def test_the_page_on_tokens_is_as_it_is_printed(
    softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    softhsm.make_token("shop-ca")
    page = (Path(__file__).parents[2] / "docs" / "hsm.md").read_text()
    monkeypatch.chdir(tmp_path)
    arguments = ["ca", "init", "--trust-domain", "shop.internal", "--key", "pkcs11:token=shop-ca"]
    assert f"$ handfast {' '.join(arguments)}\n" in page
    done = run_handfast(softhsm.environment, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Made a CA for shop.internal in certs/ca" in done.stdout
    assert "its key        pkcs11:token=shop-ca;id=" in done.stdout
    assert run_handfast(softhsm.environment, "issue", "orders").returncode == 0
    shown = json.loads(run_handfast({}, "ca", "status", "--json").stdout)
    places = [item["key_place"] for item in shown["issuers"]]
    assert places[0] == "file"
    assert places[1].startswith("pkcs11:token=shop-ca;id=")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(program.replace("/usr/lib/softhsm/libsofthsm2.so", str(softhsm.module)), {})
    with Authority.open("certs/ca") as ca:
        assert len(ca.certificates()) == 2


def test_without_its_extra_a_token_is_refused_with_the_name_of_the_extra(
    ca: Authority, softhsm: SoftHsm
) -> None:
    ca.close()
    program = "import sys; sys.modules['pkcs11'] = None\nfrom pki.cli.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "issue", "orders", "--dir", str(ca.path.parent)],
        env={**os.environ, **softhsm.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "pip install 'handfast[pkcs11]'" in done.stderr
