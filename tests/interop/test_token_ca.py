"""A CA whose keys live in a PKCS#11 token: all that it does, with a real module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pki.authority import Authority, issuance
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.orders import order_leaf
from pki.authority.signers import (
    KeyAbsentError,
    LockedPinError,
    Pkcs11Uri,
    SignerError,
    TokenAbsentError,
    TokenAccess,
    WrongPinError,
    token_module,
)
from pki.authority.signers.new_key import IN_FILE, KeyPlace
from pki.errors import KeyRefusedError, NotPermittedError, StateError
from pki.keys import KeyType, generate_key
from pki.x509 import WORKLOAD, ChainVerifier, CrlSet, Purpose
from tests.softhsm import PIN, SoftHsm
from tests.support import SHOP, Clock, request_for

_count = iter(range(1000))


@pytest.fixture
def token(softhsm: SoftHsm) -> Pkcs11Uri:
    return softhsm.make_token(f"ca-{next(_count)}")


def plan_of(token: Pkcs11Uri, **options: object) -> AuthorityPlan:
    return AuthorityPlan(SHOP, issuing_key=KeyPlace(token), **options)  # type: ignore[arg-type]


@pytest.fixture
def ca(tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri) -> Iterator[Authority]:
    with Authority.create(
        tmp_path / "ca", plan_of(token), tokens=softhsm.access, clock=Clock()
    ) as made:
        yield made


def reopen(ca: Authority, access: TokenAccess | None = None) -> Authority:
    return Authority.open(ca.path, tokens=access, clock=Clock())


def verify(ca: Authority, leaf_of: object) -> None:
    bundle, crls = ca.trust()
    ChainVerifier(bundle, crls).verify(
        leaf_of.chain,  # type: ignore[attr-defined]
        profile=WORKLOAD,
        purpose=Purpose.SERVER,
        at=ca.now(),
    )


def test_a_ca_in_a_token_issues_renews_revokes_rotates_and_distrusts(ca: Authority) -> None:
    first = ca.issue("orders")
    verify(ca, first)
    renewed = ca.renew(first.leaf)
    verify(ca, renewed)
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
    for path in ca.path.iterdir():
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
        verify(ca, ca.issue("orders"))
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
    root = softhsm.make_token(f"root-{next(_count)}")
    plan = plan_of(token, root_key=KeyPlace(root))
    with Authority.create(tmp_path / "ca", plan, tokens=softhsm.access, clock=Clock()) as ca:
        assert not list(ca.path.glob("*.key.pem"))
        first = ca.issuers()[1]
        ca.rotate()
        verify(ca, ca.issue("orders"))
        ca.distrust(first.key_id)
        assert ca.signing_intents() == ()


def test_without_the_roots_token_an_issuing_ca_is_distrusted_nevertheless(
    tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri
) -> None:
    before = set(softhsm.tokens.iterdir())
    root = softhsm.make_token(f"root-{next(_count)}")
    (folder,) = set(softhsm.tokens.iterdir()) - before
    plan = plan_of(token, root_key=KeyPlace(root))
    with Authority.create(tmp_path / "ca", plan, tokens=softhsm.access, clock=Clock()) as ca:
        away = folder.rename(softhsm.folder / "in-the-safe")
        leaf = ca.issue("orders")
        record = ca.distrust(ca.issuers()[1].key_id)
        _, crls = ca.trust()
        assert any(record.certificate.serial_number in item.revoked for item in crls.crls.values())
        with pytest.raises(TokenAbsentError, match="is not there"):
            ca.rotate()
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
        verify(other, other.issue("orders"))
    with pytest.raises(NotPermittedError, match="one of the CA's own"):
        ca.rotate(place=KeyPlace(uri))
    # The refused rotation made no key, so it destroyed none.
    verify(ca, ca.issue("orders"))


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


def test_a_wrong_pin_is_sent_once_and_not_again_by_the_next_process(
    ca: Authority, softhsm: SoftHsm
) -> None:
    ca.close()
    wrong = {**softhsm.environment, "HANDFAST_PKCS11_PIN": "9999"}
    state = str(ca.path.parent)
    said = []
    for _ in range(2):
        done = run_handfast(wrong, "issue", "orders", "--dir", state)
        assert done.returncode == 1
        assert "9999" not in done.stderr + done.stdout
        said.append(done.stderr)
    assert "refused the PIN; it is not sent again" in said[0]
    assert "the configured PIN is not tried" in said[1]
    # The right one from the same place is not tried either: only a person knows that it is right.
    done = run_handfast(softhsm.environment, "issue", "orders", "--dir", state)
    assert "the configured PIN is not tried" in done.stderr
    typed = TokenAccess(softhsm.module, "9999", lambda _: PIN)
    with reopen(ca, typed) as again:
        again.issue("orders")


def run_handfast(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pki.cli.entry import main; main()", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_token_that_went_away_and_came_back_signs_again(tmp_path: Path, softhsm: SoftHsm) -> None:
    before = set(softhsm.tokens.iterdir())
    token = softhsm.make_token(f"ca-{next(_count)}")
    (folder,) = set(softhsm.tokens.iterdir()) - before
    with Authority.create(
        tmp_path / "ca", plan_of(token), tokens=softhsm.access, clock=Clock()
    ) as ca:
        first = ca.issue("orders")
        away = folder.rename(softhsm.folder / "away")
        for _ in range(2):
            with pytest.raises(TokenAbsentError, match="is not there") as caught:
                ca.issue("payments")
            assert "Plug it in" in caught.value.remedy
        with pytest.raises(TokenAbsentError):
            ca.revoke(first.leaf.serial_number)
        record = ca.certificate(first.leaf.serial_number)
        assert record is not None
        assert record.revoked_at is None
        away.rename(folder)
        verify(ca, ca.issue("payments"))
        ca.revoke(first.leaf.serial_number)
        # What the token was asked while it was away is known, and each can be revoked.
        assert len(ca.signing_intents()) == 2


def test_a_locked_pin_and_a_last_try_are_told_and_nothing_is_sent(
    ca: Authority, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:

    class FlaggedToken:
        """A token with other flags, which SoftHSM never sets."""

        def __init__(self, token: pkcs11.Token, flags: pkcs11.TokenFlag) -> None:
            self.token, self.flags = token, flags
            self.label, self.serial = token.label, token.serial

        def open(self, **_: object) -> None:
            raise AssertionError("a PIN was sent")

    find = token_module.TokenModule._find_token
    module = token_module.open_module(softhsm.module)
    for flag, kind in (
        (pkcs11.TokenFlag.USER_PIN_LOCKED, LockedPinError),
        (pkcs11.TokenFlag.USER_PIN_FINAL_TRY, WrongPinError),
    ):
        module.forget()
        monkeypatch.setattr(
            token_module.TokenModule,
            "_find_token",
            lambda self, uri, flag=flag: FlaggedToken(find(self, uri), flag),
        )
        with pytest.raises(kind):
            ca.issue("orders")
    monkeypatch.undo()
    ca.issue("orders")


def test_a_module_that_is_none_is_refused(ca: Authority, tmp_path: Path) -> None:
    ca.close()
    cases: list[tuple[TokenAccess, str]] = [
        (TokenAccess(), "none is named"),
        (TokenAccess(Path("libsofthsm2.so"), PIN), "no absolute path"),
        (TokenAccess(tmp_path / "missing.so", PIN), "can't be used"),
        (TokenAccess(Path("/proc/self/exe"), PIN), "can't be used"),
    ]
    for access, words in cases:
        with reopen(ca, access) as again:
            # What needs no key works.
            assert again.certificates() == ()
            with pytest.raises(SignerError, match=words):
                again.issue("orders")


def test_threads_share_one_session(ca: Authority) -> None:
    with ThreadPoolExecutor(4) as pool:
        issued = list(pool.map(lambda number: ca.issue(f"web-{number}"), range(12)))
    assert len({item.leaf.serial_number for item in issued}) == 12
    for item in issued:
        verify(ca, item)


def test_two_processes_sign_with_one_token(ca: Authority, softhsm: SoftHsm) -> None:
    script = (
        "import sys; from pathlib import Path; from pki.authority import Authority\n"
        "from pki.authority.signers import TokenAccess\n"
        f"access = TokenAccess(Path({str(softhsm.module)!r}), {PIN!r})\n"
        "with Authority.open(sys.argv[1], tokens=access) as ca:\n"
        "    for number in range(8):\n"
        "        issued = ca.issue(f'{sys.argv[2]}-{number}', lifetime=None)\n"
        "        if number % 4 == 0: ca.revoke(issued.leaf.serial_number)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(ca.path), name]) for name in ("a", "b")
    ]
    assert [process.wait(100) for process in processes] == [0, 0]
    records = ca.certificates(with_ended=True)
    assert len({item.serial for item in records}) == 16
    assert sum(item.revoked_at is not None for item in records) == 4
    assert ca.signing_intents() == ()


def test_a_forked_child_uses_no_session_of_its_parent(ca: Authority, softhsm: SoftHsm) -> None:
    ca.issue("orders")
    module = token_module.open_module(softhsm.module)
    inherited = list(module._sessions.values())
    assert inherited
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"failed"
        try:
            with Authority.open(ca.path, tokens=softhsm.access, clock=Clock()) as again:
                again.issue("payments")
            is_reused = any(new is old for new in module._sessions.values() for old in inherited)
            answer = b"reused" if is_reused else b"fresh"
        finally:
            os.write(writer, answer)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"fresh"
    os.waitpid(child, 0)
    ca.issue("payments", lifetime=timedelta(minutes=5))


def test_a_uri_that_comes_to_mean_another_key_is_noticed(ca: Authority, softhsm: SoftHsm) -> None:
    other = ca.rotate()
    first = ca.issuers()[1]
    reference = ca.path / f"issuing-{other.key_id}.key.toml"
    reference.write_bytes((ca.path / f"issuing-{first.key_id}.key.toml").read_bytes())
    ca.close()
    with reopen(ca, softhsm.access) as again:
        with pytest.raises(SignerError, match="does not fit the CA's certificate"):
            again.issue("orders")
        assert again.certificates() == ()


def test_a_key_beside_a_reference_is_ambiguous(ca: Authority, softhsm: SoftHsm) -> None:
    record = ca.issuers()[1]
    key = ca.path / f"issuing-{record.key_id}.key.pem"
    key.touch(mode=0o600)
    ca.close()
    with reopen(ca, softhsm.access) as again:
        with pytest.raises(StateError, match="says that the key of issuing CA"):
            again.issue("orders")


def test_a_csr_for_a_key_of_the_ca_in_a_token_is_refused(ca: Authority) -> None:
    # The public keys of the CA are refused wherever their private ones live.
    public_key = ca.issuers()[1].certificate.public_key()
    order = order_leaf("orders", SHOP, public_key, (), (), None, WORKLOAD)  # type: ignore[arg-type]
    with pytest.raises(NotPermittedError, match="one of the CA's own"):
        issuance.issue(ca._context, order)
    assert ca.signing_intents() == ()


def test_one_order_that_is_asked_for_twice_at_once_gets_one_certificate(ca: Authority) -> None:
    request = request_for(generate_key()).public_bytes(Encoding.PEM)
    with ThreadPoolExecutor(4) as pool:
        issued = list(pool.map(lambda _: ca.issue_request("orders", request), range(4)))
    assert len({item.leaf.serial_number for item in issued}) == 1
    assert len(ca.certificates()) == 1
