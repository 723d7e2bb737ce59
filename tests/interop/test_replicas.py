"""Replicas of a CA, each a process with a folder of its own, that share a database."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cryptography
import pytest
from cryptography import x509

from pki.authority import Authority
from pki.authority.audit import CheckpointPublication
from pki.authority.backups.restoring import restore_backup
from pki.authority.directory import key_id_of
from pki.authority.ledger import Transaction
from pki.authority.ledger.beside.mark import LedgerMark, LedgerState
from pki.authority.ledger.databases.access import WRITING, LedgerAccess
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.publishing.revoking import revoke
from pki.authority.publishing.room import with_room
from pki.authority.replicas.joining import join_authority
from pki.authority.rotation.issuing_keys import new_issuing_key, new_issuing_signer
from pki.clock import system_clock
from pki.errors import (
    CommitInDoubtError,
    LedgerError,
    LedgerHeldError,
    LedgerMovedError,
    OlderLedgerError,
    PkiError,
    StateError,
)
from pki.keys import KeyType
from pki.x509 import CrlSet
from tests.postgresql import PostgresqlServer, connected

SERVE = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0", "--heartbeat=500ms")
pytestmark = pytest.mark.skipif(
    cryptography.__version__ < "47", reason="an encrypted key needs cryptography 47"
)
PASSPHRASE = "a passphrase of the CA"
SECONDS = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(fsync="off") as made:
        yield made


@pytest.fixture
def url(server: PostgresqlServer, tmp_path: Path) -> str:
    return server.make_database(f"ca_{tmp_path.name[-40:]}".replace("-", "_").lower())


def place(url: str) -> PostgresqlDatabase:
    return PostgresqlDatabase.parse(url)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE)
    file.chmod(0o600)
    return file


@pytest.fixture
def ca(tmp_path: Path, url: str) -> Iterator[Authority]:
    made = Authority.create(
        tmp_path / "one" / "ca", "shop.internal", passphrase=PASSPHRASE.encode(), ledger=place(url)
    )
    with made:
        yield made


@pytest.fixture
def other(ca: Authority, tmp_path: Path, url: str) -> Iterator[Authority]:
    home = tmp_path / "two" / "ca"
    with join_authority(home, place(url), passphrase=PASSPHRASE.encode()) as made:
        yield made


# In one process: what the ledger promises.


def test_a_replica_issues_lists_and_revokes_as_the_first_does(
    ca: Authority, other: Authority
) -> None:
    first, second = ca.issue("orders"), other.issue("payments")
    assert {item.spiffe_id for item in ca.certificates()} == {
        "spiffe://shop.internal/orders",
        "spiffe://shop.internal/payments",
    }
    other.revoke(f"{first.leaf.serial_number:x}")
    ca.revoke(f"{second.leaf.serial_number:x}")
    with ca.context.ledger.snapshot() as transaction:
        _, crls = ca.context.trust(transaction)
    revoked = {serial for crl in crls.crls.values() for serial in crl.revoked}
    assert {first.leaf.serial_number, second.leaf.serial_number} <= revoked


def test_a_key_that_one_replica_makes_signs_on_the_other(ca: Authority, other: Authority) -> None:
    made = ca.rotate()
    issued = other.issue("orders")
    assert issued.chain[1] == made.certificate
    # The root's key stays where the CA was made.
    assert not list(other.context.directory.path.glob("root*"))


def test_the_ledger_holds_no_key_that_is_not_encrypted(
    tmp_path: Path, url: str, server: PostgresqlServer
) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal", ledger=place(url)):
        pass
    database = url.rpartition("/")[2]
    assert server.execute("SELECT count(*) FROM key_files", database) == [(0,)]
    with pytest.raises(StateError, match="key"):
        join_authority(tmp_path / "two", place(url), passphrase=None)


def test_each_key_in_the_ledger_is_encrypted_and_none_is_a_roots(
    ca: Authority, url: str, server: PostgresqlServer
) -> None:
    rows = server.execute("SELECT name, contents FROM key_files", url.rpartition("/")[2])
    assert {name.partition("-")[0].partition(".")[0] for name, _ in rows} == {"issuing", "audit"}
    assert all(b"ENCRYPTED PRIVATE KEY" in bytes(contents) for _, contents in rows)


def test_a_wrong_passphrase_joins_nothing(ca: Authority, tmp_path: Path, url: str) -> None:
    home = tmp_path / "two" / "ca"
    with pytest.raises(PkiError, match="passphrase"):
        join_authority(home, place(url), passphrase=b"another")
    # The next attempt goes on with what the first has left.
    with join_authority(home, place(url), passphrase=PASSPHRASE.encode()) as joined:
        joined.issue("orders")


def test_a_replica_is_joined_once(ca: Authority, other: Authority, url: str) -> None:
    """Its mark would be that of the database, however old that is."""
    home = other.context.directory.path
    with pytest.raises(StateError, match="there is a CA"):
        join_authority(home, place(url), passphrase=PASSPHRASE.encode())


def test_a_folder_with_another_ca_stays_as_it_is(ca: Authority, tmp_path: Path, url: str) -> None:
    home = tmp_path / "another"
    home.mkdir(mode=0o700)
    (home / "audit.key.pem").write_bytes(b"another")
    with pytest.raises(StateError, match="there is a CA"):
        join_authority(home, place(url), passphrase=PASSPHRASE.encode())
    assert [file.name for file in home.iterdir()] == ["audit.key.pem"]


@pytest.mark.parametrize(
    ("suffix", "contents"),
    [("toml", "repeat('x', 1000000)"), ("pem", "'-----BEGIN PRIVATE KEY-----'")],
)
def test_a_large_file_or_an_open_key_is_not_taken_from_the_database(
    ca: Authority, tmp_path: Path, server: PostgresqlServer, suffix: str, contents: str
) -> None:
    url, name = str(ca.context.ledger.place), f"issuing-0123456789abcdef.key.{suffix}"
    server.execute(
        f"INSERT INTO key_files VALUES ('{name}', convert_to({contents}, 'UTF8'))",
        url.rpartition("/")[2],
    )
    with pytest.raises(StateError, match="no key of a CA"):
        join_authority(tmp_path / "two" / "ca", place(url), passphrase=PASSPHRASE.encode())
    assert not (tmp_path / "two" / "ca" / name).exists()


def test_a_file_that_is_no_key_is_not_taken_from_the_database(
    ca: Authority, tmp_path: Path, url: str, server: PostgresqlServer
) -> None:
    server.execute("INSERT INTO key_files VALUES ('../evil.pem', 'x')", url.rpartition("/")[2])
    with pytest.raises(StateError, match="no key of a CA"):
        join_authority(tmp_path / "two" / "ca", place(url), passphrase=PASSPHRASE.encode())
    assert not (tmp_path / "two" / "evil.pem").exists()


def test_of_machines_that_make_a_ca_in_one_database_one_does(tmp_path: Path, url: str) -> None:
    homes = [tmp_path / f"machine-{number}" / "ca" for number in range(3)]

    def make(home: Path) -> PkiError | None:
        try:
            Authority.create(
                home, "shop.internal", passphrase=PASSPHRASE.encode(), ledger=place(url)
            ).close()
        except PkiError as error:
            return error
        return None

    with ThreadPoolExecutor(3) as threads:
        errors = list(threads.map(make, homes))
    made = [home for home, error in zip(homes, errors, strict=True) if error is None]
    assert len(made) == 1, errors
    # The others are no replicas, with keys that are not the CA's.
    assert [home for home in homes if (home / "ledger.url").exists()] == made


def test_an_empty_database_is_joined_by_nobody(tmp_path: Path, url: str) -> None:
    with pytest.raises(StateError, match="holds no CA"):
        join_authority(tmp_path / "two", place(url), passphrase=b"any")


def test_of_many_who_write_at_once_each_has_its_own_commit(ca: Authority, other: Authority) -> None:
    def issue(number: int) -> int:
        chosen = ca if number % 2 else other
        return chosen.issue(f"orders-{number}").leaf.serial_number

    with ThreadPoolExecutor(16) as threads:
        serials = list(threads.map(issue, range(60)))
    assert len(set(serials)) == 60
    with ca.context.ledger.snapshot() as transaction:
        recorded = {int(item.serial, 16) for item in transaction.certificates()}
        entries = [position for position, _, _ in transaction.audit.entries()]
    assert set(serials) <= recorded
    # The log's own index has no gaps.
    assert entries == list(range(len(entries)))


def add_event(transaction: Transaction, ledger: Authority, kind: str) -> None:
    transaction.add_event(kind, "of a test", at=ledger.context.now())


def test_what_was_decided_on_an_older_state_is_not_recorded(
    ca: Authority, other: Authority
) -> None:
    """A transaction that outlives its turn goes on, and fails at its end if another was faster."""

    def decide_slowly() -> None:
        with ca.context.ledger.transaction() as slow:
            slow.state()
            other.issue("orders")
            add_event(slow, ca, "slow")

    with pytest.raises(LedgerMovedError):
        decide_slowly()
    with ca.context.ledger.snapshot() as transaction:
        assert "slow" not in {kind for _, kind, _ in transaction.events()}


def test_a_lock_that_nobody_frees_is_no_faster_replica(ca: Authority, url: str) -> None:
    """It is not tried again at once, which would wait as long again, and says what it is."""
    ledger, attempts = ca.context.ledger.waiting(0.3), []

    def step(transaction: Transaction) -> None:
        attempts.append(1)
        add_event(transaction, ca, "held")

    serial = f"{ca.issue('orders').leaf.serial_number:x}"
    with connected(url) as another:
        another.execute("SELECT id FROM ledger_state FOR UPDATE")
        with pytest.raises(LedgerHeldError, match=r"kept the ledger locked for 0\.3 s") as caught:
            ledger.run(step)
        assert "pg_stat_activity" in caught.value.remedy
        assert len(attempts) == 1
        waiting = replace(ca.context, revocation_wait=0.3)
        # A revocation is published, and recorded later.
        assert revoke(waiting, [serial], x509.ReasonFlags.superseded)[0].revoked_at is not None
        assert not ca.context.pending.is_empty()
    ledger.run(step)
    ca.issue("payments")
    assert ca.context.pending.is_empty()


class MovedMeanwhile(LedgerMark):
    """A mark that another process of the replica moves, before it is read for the first time."""

    def __init__(self, path: Path, move: Callable[[], object]) -> None:
        super().__init__(path)
        self._moves = [move]

    def read(self) -> LedgerState | None:
        if self._moves:
            self._moves.pop()()
        return super().read()


def test_a_mark_that_another_process_of_the_replica_moves_is_no_older_ledger(
    ca: Authority,
) -> None:
    home, ledger = ca.context.directory.path, ca.context.ledger
    with Authority.open(home, passphrase=PASSPHRASE.encode()) as another:
        ledger.mark = MovedMeanwhile(ledger.mark.path, lambda: another.issue("payments"))
        ca.issue("orders")
    assert len(ca.certificates()) == 2


def test_a_mark_ahead_of_the_database_is_still_refused(ca: Authority) -> None:
    ledger = ca.context.ledger
    with ledger.snapshot() as transaction:
        state = transaction.state()
    ledger.mark.write(LedgerState(state.ledger_id, state.sequence + 1))
    with pytest.raises(OlderLedgerError):
        ca.issue("orders")


def test_a_checkpoint_that_another_process_publishes_is_no_rewritten_log(ca: Authority) -> None:
    home, context = ca.context.directory.path, ca.context
    with Authority.open(home, passphrase=PASSPHRASE.encode()) as another:
        moves = [lambda: another.issue("payments")]

        class Publication(CheckpointPublication):
            def refuse_rewritten(self, transaction: Transaction) -> None:
                transaction.state()
                if moves:
                    moves.pop()()
                super().refuse_rewritten(transaction)

        publication = Publication(
            context.directory, context.settings.limits.trust_domain.audit_log, PASSPHRASE.encode()
        )
        replace(context, publication=publication).publish()


def test_a_step_is_taken_again_on_the_new_state(ca: Authority, other: Authority) -> None:
    seen = []

    def step(transaction: Transaction) -> None:
        seen.append(transaction.state().sequence)
        if len(seen) == 1:
            other.issue("orders")
        add_event(transaction, ca, "slow")

    ca.context.ledger.run(step)
    assert len(seen) == 2
    assert seen[1] > seen[0]


def test_a_revocation_is_recorded_though_another_replica_was_faster(
    ca: Authority, other: Authority
) -> None:
    serial = f"{ca.issue('orders').leaf.serial_number:x}"
    attempts = []

    def slow() -> None:
        attempts.append(1)
        with ca.context.ledger.transaction() as transaction:
            certificate = transaction.certificate_by_serial(serial)
            assert certificate is not None
            if len(attempts) == 1:
                other.issue("payments")
            transaction.mark_revoked([certificate.id], at=ca.context.now(), reason="superseded")

    with_room(ca.context, slow)
    assert len(attempts) == 2
    with other.context.ledger.snapshot() as transaction:
        recorded = transaction.certificate_by_serial(serial)
    assert recorded is not None
    assert recorded.revoked_at is not None


def test_the_key_of_a_commit_in_doubt_is_kept(ca: Authority) -> None:
    """A session that waits for a standby may still commit what names it."""
    signer = new_issuing_signer(ca.context, KeyType.ECDSA_P256, None)
    path = ca.context.directory.issuing_key(key_id_of(signer.key))
    with pytest.raises(CommitInDoubtError), new_issuing_key(ca.context, signer):
        raise CommitInDoubtError("of a test")
    assert path.exists()
    signer = new_issuing_signer(ca.context, KeyType.ECDSA_P256, None)
    path = ca.context.directory.issuing_key(key_id_of(signer.key))
    with pytest.raises(LedgerError), new_issuing_key(ca.context, signer):
        raise LedgerError("of a test")
    assert not path.exists()


def test_no_follower_misses_what_a_long_transaction_commits_late(
    ca: Authority, other: Authority
) -> None:
    """An auto-increment id is given before its commit, and would be passed over by then."""
    first = [ca.issue(f"orders-{number}").leaf.serial_number for number in range(3)]
    followed: list[int] = []

    def follow() -> None:
        with other.context.ledger.snapshot() as transaction:
            log = transaction.revocations
            newest = followed[-1] if followed else 0
            followed.extend(
                item.number for item in log.since(newest, ends_after=ca.context.now(), most=100)
            )

    attempts = []

    def slow(transaction: Transaction) -> None:
        attempts.append(1)
        certificate = transaction.certificate_by_serial(f"{first[0]:x}")
        assert certificate is not None
        transaction.mark_revoked([certificate.id], at=ca.context.now(), reason="superseded")
        if len(attempts) == 1:
            end = time.monotonic() + 30
            for serial in first[1:]:
                other.revoke(f"{serial:x}")
                follow()
            while time.monotonic() < end:
                # Not idle: a session that does nothing is ended by the server.
                transaction.state()
                time.sleep(0.5)

    ca.context.ledger.run(slow)
    follow()
    with other.context.ledger.snapshot() as transaction:
        log = transaction.revocations.since(0, ends_after=ca.context.now(), most=100)
        assert followed == [item.number for item in log]
    assert len(followed) == 3


def test_a_commit_whose_answer_is_lost_is_read_back(
    ca: Authority, url: str, server: PostgresqlServer
) -> None:
    """The session is ended between its last statement and the answer to COMMIT."""
    ledger = ca.context.ledger
    database = url.rpartition("/")[2]
    # A trigger at the very end of the transaction, which takes a second: time to cut it off.
    server.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()",
        database,
    )

    def end_sessions() -> None:
        time.sleep(1)
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND query = 'COMMIT'"
        )

    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(end_sessions)
        with pytest.raises(LedgerError, match="could not record"):
            ledger.run(lambda transaction: add_event(transaction, ca, "lost"))
        ended.result()
    with ledger.snapshot() as transaction:
        assert "lost" not in {kind for _, kind, _ in transaction.events()}
    server.execute("DROP TRIGGER slow ON events", database)
    ca.issue("orders")


class LosingAnswers:
    """Passes bytes on to a server, and closes a connection once the server has got a COMMIT."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.is_armed = False
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with source, target, suppress(OSError):
            while data := source.recv(65536):
                if self.is_armed and b"COMMIT" in data:
                    self.is_armed = False
                    # Its other end sends nothing back any more; it has got the commit, and does it.
                    source.shutdown(socket.SHUT_RDWR)
                    target.sendall(data)
                    self.lost += 1
                    time.sleep(1)
                    return
                target.sendall(data)


def test_a_commit_that_took_place_though_its_answer_was_lost_is_answered(
    tmp_path: Path, url: str, server: PostgresqlServer
) -> None:
    relay = LosingAnswers(server.port)
    through = url.replace(f":{server.port}/", f":{relay.port}/")
    with Authority.create(tmp_path / "ca", "shop.internal", ledger=place(through)) as ca:
        relay.is_armed = True
        issued = ca.issue("orders")
        assert relay.lost == 1
        assert [item.certificate for item in ca.certificates()] == [issued.leaf]
    relay.close()


def test_a_commit_that_the_ledger_may_have_forgotten_is_in_doubt(
    ca: Authority, url: str, server: PostgresqlServer
) -> None:
    with ca.context.ledger.snapshot() as transaction:
        newest = transaction.state().sequence
    server.execute(f"DELETE FROM commits WHERE sequence < {newest}", url.rpartition("/")[2])
    database = place(url)
    engine = next(database.engines(WRITING))
    with pytest.raises(StateError, match="forgotten"):
        database.was_committed(engine, "not there", newest - 1)
    assert not database.was_committed(engine, "not there", newest)
    engine.dispose()


def test_a_database_that_is_gone_for_a_while_loses_nothing(tmp_path: Path) -> None:
    with PostgresqlServer() as own:
        database = place(own.make_database("ca"))
        with Authority.create(tmp_path / "ca", "shop.internal", ledger=database) as ca:
            held = [ca.issue("before").leaf.serial_number]
            own.stop(signal.SIGQUIT)
            with pytest.raises(LedgerError):
                ca.issue("meanwhile")
            own.start()
            held.append(ca.issue("after").leaf.serial_number)
            with ca.context.ledger.snapshot() as transaction:
                assert {int(item.serial, 16) for item in transaction.certificates()} == set(held)


def test_without_its_database_a_ca_revokes_nothing_and_says_so(tmp_path: Path) -> None:
    with PostgresqlServer(fsync="off") as own:
        database = place(own.make_database("ca"))
        with Authority.create(tmp_path / "ca", "shop.internal", ledger=database) as ca:
            serial = f"{ca.issue('orders').leaf.serial_number:x}"
            own.stop(signal.SIGQUIT)
            with pytest.raises(LedgerError, match="could not record"):
                ca.revoke(serial)
            own.start()
            assert ca.revoke(serial)[0].revoked_at is not None


def test_a_database_that_can_only_be_read_does_not_stop_a_revocation(
    ca: Authority, tmp_path: Path, url: str, server: PostgresqlServer
) -> None:
    serial = ca.issue("orders").leaf.serial_number
    home, database = ca.context.directory.path, url.rpartition("/")[2]
    server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    reading = LedgerAccess(for_reading=True)
    with Authority.open(home, passphrase=PASSPHRASE.encode(), access=reading) as other:
        other.revoke(serial)
    published = CrlSet.read((home / "crl.pem").read_bytes())
    assert serial in {item for crl in published.crls.values() for item in crl.revoked}
    server.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    with Authority.open(home, passphrase=PASSPHRASE.encode()) as again:
        again.issue("payments")
        recorded = {int(item.serial, 16): item.revoked_at for item in again.certificates()}
    assert recorded[serial] is not None


def test_one_that_reads_may_pause_longer_than_one_that_writes(ca: Authority, url: str) -> None:
    engine = next(place(url).engines(LedgerAccess(for_reading=True)))
    with engine.connect() as connection:
        shown = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
        assert shown == "1h"
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
    engine.dispose()
    engine = next(place(url).engines(WRITING))
    with engine.connect() as connection:
        shown = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
        assert shown == "20s"
    engine.dispose()


def test_a_replica_that_runs_does_nothing_in_tables_of_a_newer_version(
    ca: Authority, url: str, server: PostgresqlServer
) -> None:
    server.execute("UPDATE alembic_version SET version_num = '9999'", url.rpartition("/")[2])
    with pytest.raises(LedgerError, match="schema"):
        ca.issue("orders")


def test_a_backup_of_a_file_is_restored_into_a_database_and_back(tmp_path: Path, url: str) -> None:
    file = tmp_path / "ca.backup"
    with Authority.create(tmp_path / "file" / "ca", "shop.internal") as ca:
        issued = ca.issue("orders")
        ca.revoke(f"{ca.issue('payments').leaf.serial_number:x}")
        ca.backup(file)
        lists = [ca.context.directory.read_published(unless=CrlSet.none())]
    homes = [(tmp_path / "database" / "ca", place(url)), (tmp_path / "again" / "ca", None)]
    for home, ledger in homes:
        restore_backup(file, home, clock=system_clock, ledger=ledger)
        assert Authority.recover(home, [item for item in lists if item]).resumption is not None
        with Authority.open(home) as restored:
            known = {item.serial for item in restored.certificates()}
            assert f"{issued.leaf.serial_number:x}" in known
            # Ids go on after those that were copied.
            restored.issue("billing")
            lists.append(restored.context.directory.read_published(unless=CrlSet.none()))
            file = tmp_path / f"{home.parent.name}.backup"
            restored.backup(file)


def test_a_restore_that_fails_leaves_nothing_in_the_database(
    tmp_path: Path, url: str, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows would be those of a CA that does not know that it was restored."""
    file = tmp_path / "ca.backup"
    with Authority.create(tmp_path / "file" / "ca", "shop.internal") as ca:
        ca.backup(file)
    database = url.rpartition("/")[2]
    server.execute("CREATE TABLE registrations (x int)", database)
    with pytest.raises(LedgerError, match="registrations"):
        restore_backup(file, tmp_path / "ca", clock=system_clock, ledger=place(url))
    server.execute("DROP TABLE registrations", database)
    with monkeypatch.context() as patched:
        # The last of what makes a restored ledger of the rows.
        patched.delattr(Transaction, "advance")
        with pytest.raises(AttributeError):
            restore_backup(file, tmp_path / "ca", clock=system_clock, ledger=place(url))
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert server.execute(query, database) == []
    restore_backup(file, tmp_path / "ca", clock=system_clock, ledger=place(url))


def test_a_restore_that_was_killed_after_its_commit_loses_no_folder(
    tmp_path: Path, url: str, server: PostgresqlServer
) -> None:
    file, home = tmp_path / "ca.backup", tmp_path / "new" / "ca"
    with Authority.create(tmp_path / "file" / "ca", "shop.internal") as ca:
        ca.backup(file)
    left = home.parent / ".ca.0123456789abcdef.tmp"
    left.mkdir(parents=True)
    restore_backup(file, tmp_path / "first" / "ca", clock=system_clock, ledger=place(url))
    with pytest.raises(StateError, match="holds a ledger already"):
        restore_backup(file, home, clock=system_clock, ledger=place(url))
    assert left.exists()
    empty = server.make_database(f"{url.rpartition('/')[2]}_2")
    restore_backup(file, home, clock=system_clock, ledger=place(empty))
    assert [path.name for path in home.parent.iterdir()] == ["ca"]


def test_the_folder_names_its_database_and_no_password(ca: Authority, tmp_path: Path) -> None:
    file = tmp_path / "one" / "ca" / "ledger.url"
    assert file.read_text().startswith("postgresql://handfast@127.0.0.1:")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_foreign_password_file_is_not_believed(ca: Authority, tmp_path: Path) -> None:
    file = tmp_path / "one" / "ca" / "ledger.url"
    file.chmod(0o666)
    with pytest.raises(StateError, match="others may write it"):
        Authority.open(tmp_path / "one" / "ca", passphrase=PASSPHRASE.encode())


def test_entries_of_the_audit_log_are_not_changed_by_mistake(ca: Authority, url: str) -> None:
    import psycopg  # noqa: PLC0415 - not there on all machines

    with connected(url) as connection:
        for statement in (
            "UPDATE audit_entries SET entry = 'x'",
            "DELETE FROM audit_entries",
            "UPDATE audit_log SET size = 0",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                connection.execute(statement)
            connection.rollback()
