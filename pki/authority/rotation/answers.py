"""An answer of the roots: what they signed, and its one encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography import x509

from pki import canonical_json
from pki.authority.rotation.requests import der
from pki.errors import InputError
from pki.x509 import Crl
from pki.x509.bundle_chain import SignedBundle
from pki.x509.readers import decode_certificate, read_crls

TYPE = "handfast root answer v1"
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_ROOTS = 16
_MAX_CRLS = 1024


@dataclass(frozen=True, slots=True)
class SignedCrls:
    """One root's CRLs, in the order of ``RootCrlOrder.sets()``.

    Args:
        root: SHA-256 of the root's certificate, in hex.
        crls: the CRLs.
    """

    root: str
    crls: tuple[Crl, ...]


@dataclass(frozen=True, slots=True)
class RootAnswer:
    """What roots signed of a request. Several answers, of several machines, make a whole one.

    Args:
        request: the digest of the request.
        issuing: the issuing CA.
        bundle: the trust bundle.
        crls: the CRLs of each root.
    """

    request: str
    issuing: x509.Certificate | None = None
    bundle: SignedBundle | None = None
    crls: tuple[SignedCrls, ...] = ()

    def merged_with(self, others: Iterable[RootAnswer]) -> RootAnswer:
        """Return what this answer and others to the same request hold together.

        Raises:
            InputError: if one of them is an answer to another request.
        """
        merged = self
        for other in others:
            if other.request != self.request:
                raise InputError("the answers are not to one request")
            bundle = merged.bundle or other.bundle
            if bundle is not None and other.bundle is not None:
                bundle = bundle.with_signatures_of([other.bundle])
            crls = {item.root: item for item in (*other.crls, *merged.crls)}
            merged = replace(
                merged,
                issuing=merged.issuing or other.issuing,
                bundle=bundle,
                crls=tuple(crls[root] for root in sorted(crls)),
            )
        return merged

    def encode(self) -> bytes:
        """Return the answer in its one encoding."""
        document: dict[str, object] = {
            "type": TYPE,
            "request": self.request,
            "crls": [
                {"root": item.root, "crls": [crl.der for crl in item.crls]} for item in self.crls
            ],
        }
        if self.issuing is not None:
            document["issuing"] = der(self.issuing)
        if self.bundle is not None:
            document["bundle"] = self.bundle.encode()
        return canonical_json.write(document)

    @classmethod
    def read(cls, data: bytes) -> RootAnswer:
        """Parse an answer in its one encoding, but for a line feed at its end.

        Raises:
            InputError: if it has any other form.
        """
        what = "answer of the root"
        document = canonical_json.read(
            data.removesuffix(b"\n"), what=what, max_bytes=MAX_ANSWER_BYTES
        )
        if "type" not in document or document.text("type") != TYPE:
            raise InputError(
                f"{what} is not of the type {TYPE!r}",
                remedy="Import what handfast ca root sign wrote, not the request itself",
            )
        document.require(("crls", "request", "type"), optional=("bundle", "issuing"))
        crls = []
        for item in document.objects("crls", most=_MAX_ROOTS):
            item.require(("crls", "root"))
            crls.append(
                SignedCrls(
                    item.text("root"),
                    tuple(
                        Crl.of(read_crls(crl)[0])
                        for crl in item.octets_list("crls", most=_MAX_CRLS)
                    ),
                )
            )
        roots = [item.root for item in crls]
        if roots != sorted(set(roots)):
            raise InputError(f"{what}: the roots are not sorted, each once")
        return cls(
            document.text("request"),
            decode_certificate(document.octets("issuing"), what=what)
            if "issuing" in document
            else None,
            SignedBundle.read(document.octets("bundle")) if "bundle" in document else None,
            tuple(crls),
        )


def root_id(root: x509.Certificate) -> str:
    """Return SHA-256 of a root's certificate in hex, by which an answer names it."""
    return hashlib.sha256(der(root)).hexdigest()
