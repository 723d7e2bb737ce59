"""Sessions with a PKCS#11 token: PINs, threads, processes, and a token that is away."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pkcs11
import pytest

from pki.authority import Authority
from pki.authority.signers import (
    LockedPinError,
    SignerError,
    TokenAbsentError,
    TokenAccess,
    WrongPinError,
    token_module,
)
from pki.errors import StateError
from tests.softhsm import PIN, SoftHsm, plan_of, run_handfast, verify_issued
from tests.support import Clock


@pytest.fixture
def ca(ca_in_token: Authority) -> Authority:
    return ca_in_token


def reopen(ca: Authority, access: TokenAccess | None = None) -> Authority:
    return Authority.open(ca.path, tokens=access, clock=Clock())


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


def test_a_token_that_went_away_and_came_back_signs_again(tmp_path: Path, softhsm: SoftHsm) -> None:
    before = set(softhsm.tokens.iterdir())
    token = softhsm.make_token("travels")
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
        verify_issued(ca, ca.issue("payments"))
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


def test_nothing_that_is_typed_is_not_sent(ca: Authority, softhsm: SoftHsm) -> None:
    ca.close()
    module = token_module.open_module(softhsm.module)
    module.forget()
    with reopen(ca, TokenAccess(softhsm.module, None, lambda _: "")) as again:
        with pytest.raises(WrongPinError, match="no PIN was typed"):
            again.issue("orders")
    with reopen(ca, softhsm.access) as again:
        again.issue("orders")


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
        verify_issued(ca, item)


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


_FORK = """
import os, sys
from pathlib import Path
from pki.authority import Authority
from pki.authority.signers import TokenAccess, token_module

access = TokenAccess(Path(sys.argv[2]), sys.argv[3])
with Authority.open(sys.argv[1], tokens=access) as ca:
    ca.issue("parent")
    module = token_module.open_module(access.module)
    inherited = list(module._sessions.values())
    assert inherited
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Authority.open(sys.argv[1], tokens=access) as again:
                again.issue("child")
            fresh = list(module._sessions.values())
            code = 2 if any(new is old for new in fresh for old in inherited) else 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ca.issue("parent-again")
"""


def test_a_forked_child_uses_no_session_of_its_parent(ca: Authority, softhsm: SoftHsm) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK, str(ca.path), str(softhsm.module), PIN],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {item.spiffe_id.rpartition("/")[2] for item in ca.certificates(with_ended=True)}
    assert names == {"parent", "child", "parent-again"}


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
