"""Opens documents that carry certificates: Kubernetes secrets, SPIFFE bundles, Vault's answers.

Of a secret's values only those that are certificates, keys or stores are read; of all others only
the name is shown.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pki.inspection.formatting import format_list, quote_if_unsafe
from pki.inspection.pem_blocks import WHITE_SPACE
from pki.inspection.report_item import Level, ReportItem

MOST_BYTES = 4 * 1024 * 1024
_MOST_ENTRIES = 200
_BEGIN = "-----BEGIN "
_STORES = (b"\x30", b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_KUBERNETES = re.compile(r"(?m)^kind:\s*[\"']?(Secret|ConfigMap)\b")
_NAME = re.compile(r"(?m)^  name:\s*[\"']?([^\s\"']{1,253})")
_YAML_VALUE = re.compile(
    r"(?m)^[ \t]+[\"']?([-._A-Za-z0-9]{1,253})[\"']?:"
    r"[ \t]*[\"']?([A-Za-z0-9+/]{16,}={0,2})[\"']?[ \t]*$"
)
_VAULT = ("certificate", "issuing_ca", "ca_chain", "private_key")
_SPIFFE_TO_PEM = (
    "handfast and most TLS libraries read PEM: spire-server bundle show -format pem, "
    "spire-agent api fetch x509 -write DIR"
)


@dataclass(frozen=True, slots=True)
class Container:
    """A document, and the certificates and keys in it: the name of each, and its PEM or DER."""

    report: ReportItem
    entries: tuple[tuple[str, bytes], ...]


def open_container(data: bytes) -> Container | None:
    """Open a document; None if the bytes are none that is known."""
    head = data[:4096].lstrip()
    if head[:1] in (b"{", b"["):
        return _open_json(data)
    if len(data) <= MOST_BYTES and b"apiVersion:" in head:
        return _open_yaml(data.decode("utf-8", "replace"))
    return None


def _open_json(data: bytes) -> Container | None:
    if len(data) > MOST_BYTES:
        report = ReportItem("JSON document")
        report.flag(Level.WARNING, f"larger than {MOST_BYTES} bytes, so not read")
        return Container(report, ())
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict):
        for way in (_kubernetes, _spiffe, _vault):
            container = way(document)
            if container is not None:
                return container
    entries = tuple(_pem_strings(document, ""))
    report = ReportItem("JSON document")
    if entries:
        report.flag(Level.NOTE, "a TLS library reads the PEM in it, not the JSON")
        report.advise(
            f"write its values to files of their own: jq -r '{_path(entries[0][0])}' FILE"
        )
    else:
        report.advise("it holds no PEM")
    return Container(report, entries)


def _kubernetes(document: dict[str, object]) -> Container | None:
    kind = document.get("kind")
    if kind not in ("Secret", "ConfigMap") or "apiVersion" not in document:
        return None
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    texts, packed = document.get("stringData"), document.get("data")
    if kind == "ConfigMap":
        texts, packed = packed, document.get("binaryData")
    values: dict[str, bytes | None] = {}
    for key, value in (packed if isinstance(packed, dict) else {}).items():
        values[str(key)] = _decode(value) if isinstance(value, str) else None
    for key, value in (texts if isinstance(texts, dict) else {}).items():
        values[str(key)] = value.encode() if isinstance(value, str) else None
    return _kubernetes_container(str(kind), name if isinstance(name, str) else "", values)


def _open_yaml(text: str) -> Container | None:
    match = _KUBERNETES.search(text)
    if match is None:
        return None
    name = _NAME.search(text)
    values = {key: _decode(value) for key, value in _YAML_VALUE.findall(text)[:_MOST_ENTRIES]}
    if _BEGIN in text:
        # stringData, or a ConfigMap: the text itself, indented.
        values["(text)"] = text.encode()
    return _kubernetes_container(match[1], name[1] if name else "", values)


def _kubernetes_container(kind: str, name: str, values: dict[str, bytes | None]) -> Container:
    report = ReportItem("Kubernetes secret" if kind == "Secret" else "Kubernetes config map")
    report.title = quote_if_unsafe(name)
    report.facts |= {"name": name, "entries": list(values)}
    report.row("entries", format_list(values))
    report.flag(Level.NOTE, "a TLS library reads the files that it makes, not this")
    resource = "secret" if kind == "Secret" else "configmap"
    report.advise(
        "mount it as a volume, or take a value out: kubectl get "
        f"{resource} NAME -o jsonpath='{{.data.tls\\.crt}}'"
        + (" | base64 -d" if kind == "Secret" else "")
    )
    return Container(report, tuple(_credentials(values)))


def _credentials(values: dict[str, bytes | None]) -> Iterator[tuple[str, bytes]]:
    """Return the values that are certificates, keys or stores; never a password."""
    for name, value in list(values.items())[:_MOST_ENTRIES]:
        if value is not None and (_BEGIN.encode() in value or value.startswith(_STORES)):
            yield name, value


def _spiffe(document: dict[str, object]) -> Container | None:
    domains = document.get("trust_domains")
    bundles = domains if isinstance(domains, dict) else {"": document}
    certificates: list[tuple[str, bytes]] = []
    others = 0
    for domain, bundle in bundles.items():
        keys = bundle.get("keys") if isinstance(bundle, dict) else None
        if not isinstance(keys, list):
            return None
        for key in keys[:_MOST_ENTRIES]:
            packed = key.get("x5c") if isinstance(key, dict) else None
            first = packed[0] if isinstance(packed, list) and packed else None
            der = _decode(first) if isinstance(first, str) else None
            if der is None:
                others += 1
            else:
                certificates.append((str(domain) or "x5c", der))
    report = ReportItem("SPIFFE bundle (JSON)" if certificates else "JSON Web Key set")
    report.facts |= {"x509_authorities": len(certificates), "other_keys": others}
    report.row("X.509 roots", str(len(certificates)))
    report.row("other keys", f"{others} (for JWTs)")
    if certificates:
        report.flag(Level.NOTE, "the JSON form of a bundle, which go-spiffe and gRPC's xDS read")
    report.advise(_SPIFFE_TO_PEM if certificates else "it signs tokens, and serves no TLS")
    return Container(report, tuple(certificates[:_MOST_ENTRIES]))


def _vault(document: dict[str, object]) -> Container | None:
    data = document.get("data")
    inner = data if isinstance(data, dict) else document
    if not any(isinstance(inner.get(name), str) for name in ("certificate", "issuing_ca")):
        return None
    entries = [
        (name, value.encode())
        for name in _VAULT
        for value in _texts(inner.get(name))
        if _BEGIN in value
    ]
    report = ReportItem("answer of Vault (JSON)")
    report.flag(Level.NOTE, "a TLS library reads the PEM in it, not the JSON")
    place = ".data" if isinstance(data, dict) else ""
    report.advise(
        f"write its parts to files: jq -r '{place}.certificate, {place}.ca_chain[]' FILE > "
        f"chain.pem; jq -r '{place}.private_key' FILE > key.pem, with mode 600. The root is "
        "mostly the last of ca_chain"
    )
    return Container(report, tuple(entries[:_MOST_ENTRIES]))


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def _pem_strings(value: object, name: str) -> Iterator[tuple[str, bytes]]:
    """Return the texts in a document that hold PEM, with the path to each; the first of them."""
    waiting = [(name, value)]
    count = 0
    while waiting and count < _MOST_ENTRIES:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}", item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [(f"{name}[{at}]", item) for at, item in reversed(list(enumerate(value)))]
        elif isinstance(value, str) and _BEGIN in value:
            count += 1
            yield name, value.encode("utf-8", "replace")


def _path(name: str) -> str:
    return name if re.fullmatch(r"[.\[\]A-Za-z0-9_]{1,80}", name) else ".NAME"


def _decode(value: str) -> bytes | None:
    try:
        return base64.b64decode(value.encode().translate(None, WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError):
        return None
