"""A CA whose connections stay open while it says nothing: the stream is black-holed."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from pki.ca_client import CaIdentity
from pki.clock import system_clock
from pki.proofs import EnrollmentToken
from tests.interop.shop import eventually
from tests.served_process import handfast, running


def test_a_stream_without_a_word_is_known_within_three_heartbeats(tmp_path: Path) -> None:
    handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal")
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0", "--heartbeat=1s")
    with running(tmp_path, *serve, name="ca") as ca:
        ca.line("Serving the CA")
        handfast(tmp_path, "registration", "create", "orders")
        token = handfast(tmp_path, "token", "create", "orders").stdout.strip()
        with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(token)) as orders:
            enrolled_at = system_clock()
            assert eventually(lambda: orders.last_heard > enrolled_at)
            ca.process.send_signal(signal.SIGSTOP)
            try:
                stopped = time.monotonic()
                assert eventually(lambda: orders.cut_off_since is not None, 30)
                # One heartbeat may have been on its way.
                assert time.monotonic() - stopped > 1.0
                since = orders.cut_off_since
                assert since is not None
                assert (system_clock() - since).total_seconds() < 30
            finally:
                ca.process.send_signal(signal.SIGCONT)
            assert eventually(lambda: orders.cut_off_since is None, 30)
            revoked = orders.credential.leaf.serial_number
            handfast(tmp_path, "revoke", f"{revoked:x}")

            def is_known() -> bool:
                crls = orders.credential.crls
                return crls is not None and (
                    any(serial == revoked for _, serial in crls.announced)
                    or any(revoked in item.revoked for item in crls.crls.values())
                )

            assert eventually(is_known, 90)
