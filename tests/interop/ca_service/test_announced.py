"""A revocation that was announced counts after a restart, though its list never came."""

from __future__ import annotations

from pathlib import Path

import pytest

import pki
from pki.authority.enrollment import revoke_serial
from pki.ca_client.storage.announced_store import ANNOUNCED
from pki.daemon.parts import CaParts
from pki.files import HANDFAST, save_credential
from pki.x509 import Credential
from tests.ca_service import OPERATOR, served_ca
from tests.interop.fleet import fleet, serving
from tests.interop.shop import POLICY, ended, eventually, get_stock, refused, watch


def test_a_server_that_starts_again_without_the_ca_refuses_what_it_has_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    monkeypatch.setattr(CaParts, "sign_lists_soon", lambda _: None)
    with served_ca(tmp_path) as ca, fleet(ca, tmp_path, policy) as (_, caller, channel):
        stream = watch(channel)
        serial = caller.credential.leaf.serial_number
        context = ca.authority.context
        revoke_serial(context, OPERATOR, f"{serial:x}", "superseded")
        assert ended(stream) == "CANCELLED"
        assert eventually((tmp_path / "server" / ANNOUNCED).exists)
        crls = ca.authority.trust()[1]
        assert all(serial not in crl.revoked for crl in crls.crls.values())
        present = caller.credential
        save_credential(
            Credential(present.key, present.chain, present.bundle, crls),
            tmp_path / "thief",
            layout=HANDFAST,
        )
    # The CA is gone, and both start again.
    with (
        pki.Workload.from_ca(tmp_path / "server", policy=policy) as server,
        serving(server) as address,
        pki.Workload.from_directory(tmp_path / "thief", policy=policy) as thief,
        thief.sync_channel(address, peer="server") as channel,
    ):
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"
