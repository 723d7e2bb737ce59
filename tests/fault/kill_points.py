"""Runs one operation of a CA again and again, killed before each call that leaves a trace on disk.

Started by ``test_kill_points.py`` as a process of its own, because it forks. Prints one line for
each point: its number, the call that was about to be made, and how many intents to sign were left;
and at last ``done``.

With the label of a PKCS#11 token as its third argument, the CA's keys live there.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.ledger import IssuerKind
from pki.authority.ledger.databases.access import LedgerAccess
from pki.authority.ledger.databases.failed_sync import NOTE
from pki.authority.pending.file import PendingFile
from pki.authority.rotation.root import RootKeys, sign_request
from pki.authority.signers import Pkcs11Uri, TokenAccess
from pki.authority.signers.new_key import IN_FILE, KeyPlace
from pki.errors import OlderLedgerError
from pki.identity import TrustDomain
from pki.keys import read_private_key
from pki.x509 import CrlSet, TrustBundle
from pki.x509.bundle_chain import follow
from tests.new_ledgers import migrated_once
from tests.support import Clock

# Between two of these nothing changes on disk but a file set aside, which nobody reads.
TRACES = frozenset(
    {"fsync", "replace", "link", "rename", "unlink", "commit", "pwrite", "ftruncate"}
)


class KillAt:
    """A profile hook that kills its process before the call with a number."""

    def __init__(self, number: int, report: int) -> None:
        self.number, self.report, self.seen = number, report, 0

    def __call__(self, _: FrameType, kind: str, callee: object) -> None:
        # Most events are calls of Python's own functions.
        if kind not in {"c_call", "c_return"}:
            return
        name = getattr(callee, "__name__", "")
        if name not in TRACES:
            return
        if name != "commit" and getattr(callee, "__module__", "") != "posix":
            return  # str.replace and its like
        if kind == "c_return" and name != "commit":
            return  # the same moment as before the next call
        self.seen += 1
        if self.seen == self.number:
            os.write(self.report, f"{'after' if kind == 'c_return' else 'before'} {name}".encode())
            os.kill(os.getpid(), signal.SIGKILL)


# Named on the command line, and by the environment.
TOKEN: list[str] = sys.argv[3:]
TOKENS = TokenAccess(
    Path(os.environ["HANDFAST_PKCS11_MODULE"]) if TOKEN else None,
    os.environ.get("HANDFAST_PKCS11_PIN"),
)


def open_ca(home: Path) -> Authority:
    return Authority.open(home, tokens=TOKENS, clock=Clock())


def create_ca(home: Path) -> Authority:
    place = KeyPlace(Pkcs11Uri(TOKEN[0])) if TOKEN else IN_FILE
    plan = AuthorityPlan(TrustDomain("shop.internal"), root_key=place, issuing_key=place)
    return Authority.create(home, plan, tokens=TOKENS, clock=Clock())


def serial(home: Path, number: int) -> int:
    return int((home / "serials").read_text().split()[number], 16)


def issue(home: Path) -> None:
    with open_ca(home) as ca:
        ca.issue("web")


def revoke(home: Path) -> None:
    with open_ca(home) as ca:
        ca.revoke(serial(home, 0), reason="key-compromise")


def revoke_unrecorded(home: Path) -> None:
    """Revoke while the ledger can't be written, and record it as soon as it can be."""
    reading = LedgerAccess(for_reading=True)
    with Authority.open(home, tokens=TOKENS, clock=Clock(), access=reading) as ca:
        ca.revoke(serial(home, 0), reason="key-compromise")
    open_ca(home).close()


def renew(home: Path) -> None:
    with open_ca(home) as ca:
        record = ca.certificate(serial(home, 0))
        assert record is not None
        ca.renew(record.certificate)


def rotate(home: Path) -> None:
    with open_ca(home) as ca:
        ca.rotate()


def distrust(home: Path) -> None:
    with open_ca(home) as ca:
        ca.distrust(ca.issuers()[1].key_id)


def replace_root(home: Path) -> None:
    with Authority.open(home, clock=Clock()) as ca:
        ca.prepare_root()
        ca.activate_root(force=True)
        ca.withdraw_root(force=True)


def request_root(home: Path) -> None:
    """Have a root's request signed elsewhere, and import the answer."""
    key = read_private_key((home / "root.key.pem").read_bytes())
    (home / "root.key.pem").unlink()
    with Authority.open(home, clock=Clock()) as ca:
        request = ca.request_issuer().request
        assert request is not None
        answer = sign_request(request, RootKeys.of(key), now=ca.now())
        ca.import_answers([answer.encode()])


def after_failed_sync(home: Path) -> None:
    """Copy a ledger to a new file, because a sync of it has failed, and go on."""
    issue(home)


def import_crls(home: Path) -> None:
    """Open a CA whose published list is ahead of its ledger."""
    open_ca(home).close()


def recover(home: Path) -> None:
    Authority.recover(home, tokens=TOKENS, clock=Clock())


def create(home: Path) -> None:
    create_ca(home).close()


OPERATIONS: dict[str, Callable[[Path], None]] = {
    item.__name__: item
    for item in (
        issue,
        revoke,
        revoke_unrecorded,
        renew,
        rotate,
        distrust,
        replace_root,
        request_root,
        after_failed_sync,
        import_crls,
        recover,
        create,
    )
}


def prepare(base: Path, operation: str) -> CrlSet:
    """Make what the operation begins with; return the lists that receivers have seen."""
    if operation == "create":
        return CrlSet.none()
    with create_ca(base) as ca:
        serials = [ca.issue(name).leaf.serial_number for name in ("orders", "payments")]
        (base / "serials").write_text(" ".join(f"{item:x}" for item in serials))
    if operation in {"import_crls", "recover"}:
        shutil.copytree(base, base.with_name("older"))
        with Authority.open(base, clock=Clock()) as ca:
            ca.revoke(serials[1])
    if operation == "after_failed_sync":
        keep_log(base / "ledger.db")
        (base / NOTE).touch(0o600)
    seen = CrlSet.read((base / "crl.pem").read_bytes())
    older = base.with_name("older")
    if operation == "import_crls":
        # All but the list: with the newest checkpoint of the audit log, the CA would not open.
        for name in ("ledger.db", "ledger.mark", "audit.checkpoint"):
            shutil.copy(older / name, base / name)
    elif operation == "recover":
        shutil.copy(older / "ledger.db", base / "ledger.db")
    return seen


def keep_log(ledger: Path) -> None:
    """Leave the newest commit in a write-ahead log, as a process does that ends without closing."""
    with sqlite3.connect(ledger) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE newest (number)")
        connection.execute("INSERT INTO newest VALUES (1)")
        connection.commit()
        held = {item.name: item.read_bytes() for item in ledger.parent.glob("ledger.db*")}
    connection.close()
    for name, data in held.items():
        (ledger.parent / name).write_bytes(data)
    assert (ledger.parent / "ledger.db-wal").stat().st_size


def check_newest(home: Path) -> None:
    with sqlite3.connect(home / "ledger.db") as connection:
        assert connection.execute("SELECT number FROM newest").fetchall() == [(1,)]
    connection.close()


def check(home: Path, operation: str, seen: CrlSet) -> int:
    """Hold what a killed process left against what must hold; return how many intents it left."""
    if operation == "create":
        check_created(home)
        return 0
    if operation == "recover":
        try:
            open_ca(home).close()
        except OlderLedgerError:
            Authority.recover(home, tokens=TOKENS, clock=Clock())
    if operation == "after_failed_sync":
        open_ca(home).close()
        check_newest(home)
        left = {item.name for item in home.iterdir()}
        assert not {NOTE, ".ledger.copy", "ledger.db-wal"} & left
    # Whoever saw a list refuses what is on it; what is in the file is in force too.
    out = CrlSet.read((home / "crl.pem").read_bytes())
    pending = PendingFile(home).read()
    known = {f"{number:x}" for item in out.crls.values() for number in item.revoked}
    known |= {item.serial for record in pending for item in record.entries}
    with open_ca(home) as ca:
        published = CrlSet.read((home / "crl.pem").read_bytes())
        _, crls = ca.trust()
        assert {item.der for item in published.crls.values()} == {
            item.der for item in crls.crls.values()
        }, "what is published is not what the ledger holds"
        assert seen.merge_newer(crls)[1] == (), "a list went back"
        assert out.merge_newer(crls)[1] == (), "a list went back"
        listed = {f"{number:x}" for item in crls.crls.values() for number in item.revoked}
        if operation in {"import_crls", "recover"}:
            assert f"{serial(home, 1):x}" in listed, "what was revoked is so no more"
        assert known <= listed, "what was out is revoked no more"
        assert ca.pending_revocations() == ()
        records = ca.certificates(with_ended=True)
        assert {item.serial for item in records if item.revoked_at} <= listed
        check_bundles(home, ca)
        for issuer in ca.issuers():
            if issuer.kind is IssuerKind.ISSUING:
                assert ca.key_place(issuer) != "not here", "a key is gone"
        assert ca.verify_audit_log().findings == (), "the log and the rows tell two stories"
        intents = check_intents(ca)
        if operation != "distrust":
            ca.issue("after")
            ca.revoke(serial(home, 0))
    # And once more: what came after the kill did not look like an older ledger.
    open_ca(home).close()
    return intents


def check_intents(ca: Authority) -> int:
    """Revoke the leaves that a token was perhaps asked to sign, and that nobody got.

    An issuing CA that it was perhaps asked to sign is in the pending request; the next one replaces
    it.
    """
    intents = ca.signing_intents()
    serials = [int(item.serial, 16) for item in intents]
    assert all(ca.certificate(number) is None for number in serials), "recorded, and yet intended"
    ca.revoke_all(serials)
    _, crls = ca.trust()
    listed = {number for item in crls.crls.values() for number in item.revoked}
    assert listed.issuperset(serials), "what was perhaps signed can't be revoked"
    assert all(item.revoked_at for item in ca.signing_intents())
    return len(intents) + (ca.rotation_status().pending is not None)


def check_bundles(home: Path, ca: Authority) -> None:
    """Check that the bundles are one chain, and that the last is what the CA trusts and shows."""
    first, *later = ca.bundles()
    newest = follow(first, later, now=ca.now())
    trusted = set(ca.trust()[0].all_roots())
    assert set(newest.content.roots) == trusted, "the newest bundle is not what the CA trusts"
    published = TrustBundle.read((home / "bundle.pem").read_bytes())
    assert set(published.all_roots()) == trusted, "what is published is not what the CA trusts"


def check_created(home: Path) -> None:
    key = home / "root.key.pem"
    before = key.read_bytes() if key.exists() else None
    try:
        ca = create_ca(home)
    except Exception:
        ca = open_ca(home)
    with ca:
        status = [item.status.value for item in ca.issuers()[1:]]
        if not status:
            ca.rotate(place=KeyPlace(Pkcs11Uri(TOKEN[0])) if TOKEN else IN_FILE)
        elif status == ["prepared"]:
            ca.activate_issuer()
        ca.issue("orders")
    assert before is None or key.read_bytes() == before, "the root's key was written over"


def main(folder: Path, operation: str) -> None:
    base = folder / "ca"
    # With this process's first ledger the tables of the next ones are written without alembic: in
    # one transaction too.
    Authority.create(folder / "first", "shop.internal", clock=Clock()).close()
    seen = prepare(base, operation)
    for number in range(1, 1000):
        home = folder / "try" / "ca"
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(exist_ok=True)
        if base.exists():
            shutil.copytree(base, home)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            sys.setprofile(KillAt(number, writer))
            OPERATIONS[operation](home)
            sys.setprofile(None)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            point = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the operation failed by itself"
            check(home, operation, seen)
            sys.stdout.write("done\n")
            return
        sys.stdout.write(f"{number} {point}")
        sys.stdout.flush()
        sys.stdout.write(f", {check(home, operation, seen)} intents\n")


if __name__ == "__main__":
    with migrated_once():
        main(Path(sys.argv[1]), sys.argv[2])
