"""Says what a file is from which no certificate or key can be read here, and what to do."""

from __future__ import annotations

import re

from pki.inspection.formatting import quote_if_unsafe
from pki.inspection.report_item import Level, ReportItem

_NEEDS = "a TLS library reads PEM"
_PGP = "OpenPGP's keys are not X.509's: make a key and a certificate with handfast issue NAME"
_PATH = re.compile(rb"(?:file:|~?/|\.{1,2}/|[A-Za-z]:\\)[^\0\r\n]{1,4000}\s*")
# By their first bytes.
_BINARY = (
    (b"\xfe\xed\xfe\xed", "Java keystore (JKS)", "jks"),
    (b"\xce\xce\xce\xce", "Java keystore (JCEKS)", "jceks"),
    (b"\x1f\x8b", "gzip archive", "unpack it: gzip -d, tar -xzf"),
    (b"PK\x03\x04", "zip archive (or jar)", "unpack it: unzip"),
    (b"SQLite format 3\0", "SQLite database", "handfast's ledger is one: handfast list reads it"),
    (b"\x7fELF", "program (ELF)", "give the file that it reads, not the program"),
    (
        b"\x1e\xf1\xb5\xb0",
        "private key in Microsoft's PVK form",
        "convert it: openssl rsa -inform PVK",
    ),
    (
        b"PuTTY-User-Key-File-",
        "private key of PuTTY (PPK)",
        "it serves SSH, not TLS; puttygen converts it",
    ),
    (b"age-encryption.org/", "file encrypted with age", "decrypt it: age --decrypt"),
    (b"$ANSIBLE_VAULT;", "file encrypted with Ansible Vault", "decrypt it: ansible-vault decrypt"),
    (b"---- BEGIN SSH2 ", "public key of SSH", "it serves SSH, not TLS"),
    (b"openssh-key-v1\0", "private key of OpenSSH without PEM", "it serves SSH, not TLS"),
)
_TEXT = (
    (
        re.compile(rb"\A\s*(?:<!doctype html|<html)", re.I),
        "HTML page",
        "mostly an error that a download saved: fetch it again, and see its status (curl --fail)",
    ),
    (re.compile(rb"\A\s*<\?xml", re.I), "XML document", _NEEDS),
    (
        re.compile(rb"(?m)^AGE-SECRET-KEY-1", re.I),
        "private key of age",
        "it encrypts files, and serves no TLS",
    ),
    (
        re.compile(rb"(?m)^sops:|\"sops\":"),
        "file encrypted with SOPS",
        "decrypt it: sops --decrypt",
    ),
    (
        re.compile(rb"(?m)^kind:\s*SealedSecret\b"),
        "sealed secret of Kubernetes",
        "only the cluster opens it: kubectl get secret NAME -o yaml shows the secret that it makes",
    ),
)
_DAMAGED_BEGIN = re.compile(
    rb"[^\nA-Za-z0-9]{2,20}BEGIN [A-Z0-9 ]{0,30}(?:CERTIFICATE|KEY|CRL|REQUEST)\b"
)
_TAR_AT = 257


def recognise_kind(data: bytes) -> ReportItem | None:
    """Return what a file is, by its first bytes; None if it is nothing known here."""
    for magic, kind, remedy in _BINARY:
        if data.startswith(magic):
            return _keystore(data, kind) if remedy in ("jks", "jceks") else _item(kind, remedy)
    if data[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return _item("tar archive", "unpack it: tar -xf")
    head = data[:4096]
    for pattern, kind, remedy in _TEXT:
        if pattern.search(head):
            return _item(kind, remedy)
    if _DAMAGED_BEGIN.search(head):
        return _item(
            "PEM whose BEGIN lines are damaged",
            "write five ASCII hyphens on both sides, and no space; word processors change them",
        )
    if _PATH.fullmatch(data):
        report = _item("path, and not a content", "give the content of the file that it names")
        report.title = quote_if_unsafe(data.decode("utf-8", "replace").strip())
        return report
    return None


def pgp_item(label: str) -> ReportItem:
    """Return the description of an armored OpenPGP block."""
    return _item(f"OpenPGP block ({label.removeprefix('PGP ').lower()})", _PGP)


def _keystore(data: bytes, kind: str) -> ReportItem:
    """Describe a Java keystore by its header: magic number, version, count of entries."""
    report = _item(
        kind,
        "convert it: keytool -importkeystore -srckeystore FILE -destkeystore store.p12 "
        "-deststoretype PKCS12; then handfast inspect store.p12 --password-file PASSWORD",
    )
    if len(data) >= 12:
        report.facts["entries"] = int.from_bytes(data[8:12], "big")
        report.row("entries", str(report.facts["entries"]))
    report.flag(Level.NOTE, "only Java reads it")
    return report


def _item(kind: str, remedy: str) -> ReportItem:
    report = ReportItem(kind)
    report.advise(remedy)
    return report
