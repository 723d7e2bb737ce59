"""Processes that are killed half-way, and two at once: ledger and files agree after restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.ledger import IssuerStatus
from pki.errors import PkiError
from pki.files import load_credential
from pki.files.writer import promote_pending_key
from pki.identity import DnsName, TrustDomain
from pki.keys import KeyType
from pki.x509 import WORKLOAD, ChainVerifier, CrlSet, Purpose

WORK = """
import sys
from pathlib import Path
from pki.authority import Authority
from pki.files import load_credential, ensure_pending_key
from pki.files.writer import promote_pending_key
from pki.keys import generate_key

home = Path(sys.argv[1])
print("begun", flush=True)
while True:
    with Authority.open(home / "ca") as ca:
        ca.issue("orders").save(home / "orders")
        promote_pending_key(home / "orders")
        old = load_credential(home / "orders").credential
        key = ensure_pending_key(home / "orders", generate_key())
        ca.renew(old.leaf, key=key).save(home / "orders")
        ca.revoke(old.leaf.serial_number)
        ca.rotate()
        print("round", flush=True)
"""


def check_agreement(home: Path, seen: CrlSet) -> CrlSet:
    """Open what a killed process left, and hold files and ledger against each other."""
    with Authority.open(home / "ca") as ca:
        bundle, crls = ca.trust()
        published = CrlSet.read((home / "ca" / "crl.pem").read_bytes())
        assert {item.der for item in published.crls.values()} == {
            item.der for item in crls.crls.values()
        }
        seen, refused = seen.merge_newer(crls)
        assert not refused, "a list went back"
        revoked = {record.serial for record in ca.certificates() if record.revoked_at}
        listed = {f"{serial:x}" for item in crls.crls.values() for serial in item.revoked}
        assert revoked == listed
        serials = [record.serial for record in ca.certificates()]
        assert len(serials) == len(set(serials))
        folder = home / "orders"
        if (folder / "chain.pem").exists():
            promote_pending_key(folder)
            leaf = load_credential(folder).credential.leaf
            record = ca.certificate(leaf.serial_number)
            assert record is not None, "a certificate is out that the ledger does not hold"
            assert record.certificate == leaf
        fresh = ca.issue("after")
        ChainVerifier(bundle, crls).verify(
            fresh.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=ca.now()
        )
    return seen


def test_after_kill_9_at_any_moment_the_ledger_and_the_files_agree(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal"):
        pass
    seen = CrlSet.none()
    for number in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        # Spread over the whole round; each lands between two other system calls.
        time.sleep(0.013 * number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        seen = check_agreement(tmp_path, seen)


def test_a_set_up_killed_at_any_moment_is_finished_or_made_anew(tmp_path: Path) -> None:
    script = (
        "import sys; from pki.authority import Authority; print('begun', flush=True);"
        "Authority.create(sys.argv[1], 'shop.internal').close()"
    )
    for number in range(8):
        home = tmp_path / f"ca{number}"
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 * number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        try:
            ca = Authority.open(home)
        except PkiError:
            ca = Authority.create(home, "shop.internal")
        with ca:
            if len(ca.issuers()) < 2:
                ca.rotate()
            elif ca.issuers()[1].status is IssuerStatus.PREPARED:
                ca.activate_issuer()
            ca.issue("orders")


def test_a_disk_that_takes_no_more_leaves_the_old_credential_in_use(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        first = ca.issue("orders")
        first.save(tmp_path / "orders")
        ca.issue("orders", key_type=KeyType.RSA_4096).save(tmp_path / "second")
    before = {path.name: path.read_bytes() for path in (tmp_path / "orders").iterdir()}
    # A limit on the size of files fails a write half-way, as a full disk does.
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from pki.errors import StateError\n"
        "from pki.files import load_credential, save_credential\n"
        "new = load_credential(Path(sys.argv[1])).credential\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))\n"
        "try: save_credential(new, Path(sys.argv[2]))\n"
        "except StateError: sys.exit(7)\n"
    )
    for limit in (10, 2000, 2800):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                script,
                str(tmp_path / "second"),
                str(tmp_path / "orders"),
                str(limit),
            ],
            check=False,
        )
        assert done.returncode == 7
        assert load_credential(tmp_path / "orders").credential.chain == first.chain
        left = {path.name: path.read_bytes() for path in (tmp_path / "orders").iterdir()}
        assert {name: left[name] for name in before} == before


def test_two_processes_at_once_share_one_ledger(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal"):
        pass
    script = (
        "import sys; from pki.authority import Authority\n"
        "with Authority.open(sys.argv[1]) as ca:\n"
        "    for number in range(25):\n"
        "        issued = ca.issue(f'{sys.argv[2]}-{number}')\n"
        "        if number % 5 == 0: ca.revoke(issued.leaf.serial_number)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "ca"), name])
        for name in ("a", "b")
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    with Authority.open(tmp_path / "ca") as ca:
        records = ca.certificates()
        assert len({record.serial for record in records}) == 50
        assert sum(record.revoked_at is not None for record in records) == 10
        _, crls = ca.trust()
        (issuing,) = (item for item in crls.crls.values() if item.revoked)
        assert len(issuing.revoked) == 10
        published = CrlSet.read((tmp_path / "ca" / "crl.pem").read_bytes())
        assert published.crls.keys() == crls.crls.keys()
        assert all(item.der == crls.crls[key].der for key, item in published.crls.items())


def test_two_who_want_one_name_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    plan = AuthorityPlan(TrustDomain("shop.internal"), (DnsName("localhost"),))
    with Authority.create(tmp_path / "ca", plan):
        pass
    script = (
        "import sys; from pki.authority import Authority; from pki.identity import DnsName\n"
        "from pki.errors import NotPermittedError\n"
        "with Authority.open(sys.argv[1]) as ca:\n"
        "    sys.stdin.readline()\n"
        "    try: ca.issue(sys.argv[2], dns=[DnsName('localhost')])\n"
        "    except NotPermittedError: sys.exit(7)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "ca"), name], stdin=subprocess.PIPE
        )
        for name in ("a", "b")
    ]
    for process in processes:
        process.communicate(b"go\n", timeout=60)
    assert sorted(process.returncode for process in processes) == [0, 7]


def test_two_renewals_of_one_certificate_at_once_exactly_one_wins(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        ca.issue("orders").save(tmp_path / "orders")
    script = (
        "import sys; from pathlib import Path; from pki.authority import Authority\n"
        "from pki.errors import NotPermittedError; from pki.files import load_credential\n"
        "old = load_credential(Path(sys.argv[2])).credential.leaf\n"
        "with Authority.open(sys.argv[1]) as ca:\n"
        "    sys.stdin.readline()\n"
        "    try: ca.renew(old)\n"
        "    except NotPermittedError: sys.exit(7)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "ca"), str(tmp_path / "orders")],
            stdin=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in processes:
        process.communicate(b"go\n", timeout=60)
    assert sorted(process.returncode for process in processes) == [0, 7]
    with Authority.open(tmp_path / "ca") as ca:
        assert len(ca.certificates()) == 2
        assert ca.events()[0][1] == "second-renewal"
