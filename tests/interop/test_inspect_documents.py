"""What ``handfast inspect`` says of documents that carry certificates, and of what is none."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)

from pki.cli.app import run
from tests.interop.inspected import Inspector, flags, kinds
from tests.interop.seeds import SERVER_ONLY, Ca, Scene, ca_usage, named, pem, scene_in, sign


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Inspector:
    return Inspector(tmp_path, capsys)


# Documents


def secret(**values: bytes) -> dict[str, Any]:
    data = {
        name.replace("_", "."): base64.b64encode(item).decode() for name, item in values.items()
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-tls"}, "data": data}


def as_yaml(document: dict[str, Any]) -> bytes:
    lines = ["apiVersion: v1", "data:"]
    lines += [f"  {name}: {value}" for name, value in document["data"].items()]
    lines += ["kind: Secret", "metadata:", "  name: orders-tls", "type: kubernetes.io/tls"]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize("as_text", [as_yaml, lambda item: json.dumps(item).encode()])
def test_a_kubernetes_secret_shows_what_it_holds_and_no_secret(
    inspect: Inspector,
    scene: Scene,
    capsys: pytest.CaptureFixture[str],
    as_text: Callable[[dict[str, Any]], bytes],
) -> None:
    made = scene.ca.leaf()
    document = secret(tls_key=made.key_pem, tls_crt=made.chain_pem, word=b"hunter2hunter2hunter2")
    data = as_text(document)
    objects = inspect("secret", data)
    assert kinds(objects) == [
        "Kubernetes secret",
        "private key (not shown)",
        "certificate",
        "CA certificate",
    ]
    assert objects[0]["entries"] == ["tls.key", "tls.crt", "word"]
    assert objects[2]["entry"] == "tls.crt"
    assert "belongs to the certificate" in flags(objects[1])
    assert "kubectl get secret" in objects[0]["remedy"]
    assert run(["inspect", str(scene.home / "secret"), "--text"]) == 0
    out = capsys.readouterr().out
    for hidden in (b"hunter2", base64.b64encode(b"hunter2hunter2hunter2"), made.key_pem[40:80]):
        assert hidden.decode() not in out


def test_a_config_map_with_a_bundle_is_shown(inspect: Inspector, scene: Scene) -> None:
    text = b"apiVersion: v1\ndata:\n  ca.crt: |\n" + b"".join(
        b"    " + line for line in pem([scene.ca.root]).splitlines(keepends=True)
    )
    objects = inspect("ca.yaml", text + b"kind: ConfigMap\nmetadata:\n  name: roots\n")
    assert kinds(objects) == ["Kubernetes config map", "CA certificate"]


def test_a_spiffe_bundle_in_json_is_shown(inspect: Inspector, scene: Scene) -> None:
    x5c = base64.b64encode(scene.ca.root.public_bytes(Encoding.DER)).decode()
    keys = [{"use": "x509-svid", "kty": "EC", "x5c": [x5c]}, {"use": "jwt-svid", "kty": "EC"}]
    one = {"spiffe_sequence": 1, "spiffe_refresh_hint": 60, "keys": keys}
    for document in (one, {"trust_domains": {"seed.internal": one}}):
        objects = inspect("bundle.json", json.dumps(document).encode())
        assert kinds(objects) == ["SPIFFE bundle (JSON)", "CA certificate"]
        assert (objects[0]["x509_authorities"], objects[0]["other_keys"]) == (1, 1)
        assert "spire-server bundle show" in objects[0]["remedy"]
    (item,) = inspect("jwks.json", json.dumps({"keys": [{"kty": "RSA"}]}).encode())
    assert item["kind"] == "JSON Web Key set"


def test_an_answer_of_vault_is_shown(inspect: Inspector, scene: Scene) -> None:
    made = scene.ca.leaf()
    data = {
        "ca_chain": [pem([scene.ca.issuing]).decode(), pem([scene.ca.root]).decode()],
        "certificate": pem(made.chain[:1]).decode(),
        "issuing_ca": pem([scene.ca.issuing]).decode(),
        "private_key": made.key_pem.decode(),
        "private_key_type": "ec",
    }
    for document in ({"request_id": "1", "lease_id": "", "data": data}, data):
        objects = inspect("vault.json", json.dumps(document).encode())
        assert objects[0]["kind"] == "answer of Vault (JSON)"
        assert kinds(objects)[1] == "certificate"
        assert kinds(objects)[-1] == "private key (not shown)"
        assert "jq -r" in objects[0]["remedy"]


def test_pem_in_any_json_is_shown(inspect: Inspector, scene: Scene) -> None:
    made = scene.ca.leaf()
    document = {"cert": made.chain_pem.decode(), "key": made.key_pem.decode(), "n": 1}
    objects = inspect("cfssl.json", json.dumps(document).encode())
    assert objects[0]["kind"] == "JSON document"
    assert objects[0]["remedy"].endswith("jq -r '.cert' FILE")
    assert len(objects) == 4


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"-----BEGIN PGP MESSAGE-----\n\n-----END PGP MESSAGE-----\n", "OpenPGP"),
        (b"<!DOCTYPE html>\n<html><body>404", "HTML page"),
        (b"\n<HTML>", "HTML page"),
        (b"\x1f\x8b\x08\0", "gzip archive"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"SQLite format 3\0", "SQLite database"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6130", "Ansible Vault"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTY"),
        (b"ssh-rsa AAAA someone@host", "public key of SSH"),
        (b"/etc/ssl/private/key.pem\n", "path, and not a content"),
        (b"{}", "JSON document"),
        (b"\xfe\xed\xfe\xed", "Java keystore (JKS)"),
        (b"\xce\xce\xce\xce\0\0\0\2\0\0\0\3", "Java keystore (JCEKS)"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_named_with_what_to_do(
    inspect: Inspector, data: bytes, kind: str
) -> None:
    item = inspect("file", data)[0]
    assert kind in item["kind"]
    assert item["remedy"]


# Certificates


def test_a_bundle_of_intermediates_names_the_root_that_it_lacks(
    inspect: Inspector, scene: Scene
) -> None:
    (item,) = inspect("ca.crt", pem([scene.ca.issuing]))
    root = scene.ca.root.subject.rfc4514_string()
    assert f"put the root {root} there" in flags(item)
    for good in ([scene.ca.root], [scene.ca.issuing, scene.ca.root], scene.ca.leaf().chain):
        assert not any("put the root" in flags(item) for item in inspect("a.pem", pem(good)))


def test_a_ca_that_is_limited_to_a_use_says_so(inspect: Inspector) -> None:
    ca = Ca()
    extensions = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (ca_usage(), True),
        (x509.ExtendedKeyUsage(SERVER_ONLY), False),
    ]
    limited = sign(named("limited"), ca.key.public_key(), ca.root, ca.root_key, extensions)
    (item,) = inspect("ca.crt", pem([limited]))
    assert item["extended_key_usage"] == ["server"]
    assert "limits what it issues to server" in flags(item)
    (free,) = inspect("ca.crt", pem([ca.issuing]))
    assert "limits" not in flags(free)


# Hostile files


@pytest.mark.parametrize(
    "data",
    [
        b"{" * 100_000,
        b"[" * 1_000_000,
        b'{"keys": ' + b"9" * 100_000 + b"}",
        b'{"keys": [{"x5c": ["AAAA"]}, {"x5c": [1]}, {"x5c": {}}, 1, null]}',
        b'{"trust_domains": {"a": 1}}',
        b'{"kind": "Secret", "apiVersion": 1, "data": [1], "metadata": 3}',
        b'{"kind": "Secret", "apiVersion": 1, "data": {"a": 1, "b": "%%%"}}',
        b'{"data": {"certificate": "-----BEGIN CERTIFICATE-----", "ca_chain": [[]]}}',
        b"apiVersion: v1\nkind: Secret\ndata:\n" + b" " * 1_000_000 + b"x",
        b"apiVersion: v1\nkind: Secret\ndata:\n" + b"  a: " + b"A" * 1_000_000 + b"!",
        b"A " * 4_000_000,
        b"\n" * 4_000_000 + b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"\xff\xfe" + b"-\0" * 1_000_000,
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \x1b[2J\u202e\n".encode(),
    ],
)
def test_a_hostile_document_ends_soon_and_without_a_traceback(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(data)
    assert run(["inspect", str(path)]) in (0, 1)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert all(item.isprintable() or item == "\n" for item in out + err)
