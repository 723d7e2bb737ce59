"""The newest signed trust bundle, followed from what a workload trusts already.

The bundles prove themselves, link by link, so it does not matter who hands them out: they are also
asked for over a connection whose server could be anybody. That is how a workload comes back which
was away while the CA replaced its root.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki._proto.handfast.ca.v1 import enrollment_pb2, enrollment_pb2_grpc
from pki.ca_client.contact import presented_root, stranger_channel, verified_path
from pki.ca_client.rpc_errors import call
from pki.errors import CaRefusedError, CertificateError, PkiError
from pki.identity import TrustDomain
from pki.x509 import TrustBundle
from pki.x509.bundle_chain import BundleRefusedError, SignedBundle, begin, follow

_SECONDS = 10.0
# Of a whole chain, which may come from anybody: nothing is verified before it is here.
_ALL_SECONDS, _MOST_BUNDLES, _MOST_BYTES = 60.0, 1024, 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a workload trusts before it meets the CA.

    Args:
        trust_domain: of the CA.
        roots: the roots that are trusted.
        fingerprint: SHA-256 of the one trusted root, where no more is known of it.
        bundle: the newest bundle that was verified; None before the first.
    """

    trust_domain: TrustDomain
    roots: tuple[x509.Certificate, ...] = ()
    fingerprint: bytes | None = None
    bundle: SignedBundle | None = None

    @property
    def number(self) -> int:
        """The number of the trusted bundle; 0 before the first."""
        return 0 if self.bundle is None else self.bundle.number

    def trust(self, *, beside: TrustBundle | None = None) -> TrustBundle:
        """Return the trusted roots in the form in which chains are verified.

        Args:
            beside: its roots of other trust domains are trusted too.
        """
        others = [
            root
            for domain, roots in (beside.roots.items() if beside is not None else ())
            if domain != self.trust_domain
            for root in roots
        ]
        return TrustBundle.of_roots([*self.roots, *others], default=self.trust_domain)

    def follow(self, bundles: Sequence[SignedBundle], *, now: datetime) -> Anchor:
        """Return what is trusted after a chain of bundles; the first may be the trusted one.

        Raises:
            BundleRefusedError: if a bundle is not accepted; ``fault`` says why.
        """
        if not bundles:
            return self
        newest = (
            follow(self.bundle, bundles, now=now)
            if self.bundle is not None
            else self._begin(bundles, now)
        )
        return replace(self, roots=newest.content.roots, fingerprint=None, bundle=newest)

    def _begin(self, bundles: Sequence[SignedBundle], now: datetime) -> SignedBundle:
        """Begin with the newest bundle that a trusted root vouches for, and follow from there."""
        known = {root.fingerprint(hashes.SHA256()) for root in self.roots}
        if self.fingerprint is not None:
            known.add(self.fingerprint)
        refusal: BundleRefusedError | None = None
        for index in reversed(range(len(bundles))):
            for fingerprint in sorted(known):
                try:
                    first = begin(
                        bundles[index],
                        trust_domain=self.trust_domain,
                        fingerprint=fingerprint,
                        now=now,
                    )
                except BundleRefusedError as error:
                    refusal = refusal or error
                else:
                    return follow(first, bundles[index + 1 :], now=now)
        assert refusal is not None  # there is at least one bundle and one root
        raise refusal


def newest_bundle(
    stub: enrollment_pb2_grpc.EnrollmentStub, anchor: Anchor, *, now: datetime
) -> Anchor:
    """Ask for the signed bundles after the trusted one, and follow them.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if the CA refuses.
        BundleRefusedError: if a bundle is not accepted.
    """
    bundles: list[SignedBundle] = []
    size, end = 0, time.monotonic() + _ALL_SECONDS
    # From the trusted one on: another one with its number would be a fork.
    since = max(anchor.number - 1, 0)
    while True:
        request = enrollment_pb2.GetBundleRequest(since=since)
        seconds = min(_SECONDS, max(end - time.monotonic(), 0.0))
        answer = call(partial(stub.GetBundle, request, timeout=seconds))
        size += answer.ByteSize()
        if size > _MOST_BYTES or len(bundles) + len(answer.bundles) > _MOST_BUNDLES:
            raise CertificateError("the CA sent trust bundles without an end")
        bundles += [SignedBundle.read(data) for data in answer.bundles]
        if not answer.more:
            return anchor.follow(bundles, now=now)
        if not answer.bundles or bundles[-1].number <= since:
            raise CertificateError("the CA sent trust bundles without an end")
        since = bundles[-1].number


def newest_bundle_at(
    address: str, anchor: Anchor, *, now: datetime, seconds: float = _SECONDS
) -> Anchor:
    """Follow the bundles that a server hands out, over a connection that proves nothing.

    Args:
        address: where the CA takes enrollments.
        anchor: what is trusted.
        now: the time.
        seconds: how long the first handshake may take.

    Raises:
        PkiError: as :func:`newest_bundle`.
    """
    root = presented_root(address, anchor.trust_domain, seconds=seconds)
    with stranger_channel(address, anchor.trust_domain, root) as channel:
        return newest_bundle(enrollment_pb2_grpc.EnrollmentStub(channel), anchor, now=now)


def meet_ca(address: str, anchor: Anchor, *, now: datetime) -> tuple[x509.Certificate, Anchor]:
    """Verify who is there; if none of the trusted roots leads to them, by the newest bundle.

    Returns:
        The root that their chain leads to, and what is trusted now.

    Raises:
        CaUnreachableError: if no handshake was possible.
        CaRefusedError: if somebody else is there.
    """
    domain = anchor.trust_domain
    try:
        path = verified_path(
            address, domain, now=now, fingerprint=anchor.fingerprint, roots=anchor.roots
        )
    except CaRefusedError as refusal:
        try:
            newer = newest_bundle_at(address, anchor, now=now)
        except BundleRefusedError as error:
            raise CaRefusedError(
                f"{refusal.message}; and its trust bundles do not lead there: {error.message}",
                remedy=error.remedy,
            ) from error
        except PkiError:
            raise refusal from None
        if newer.number == anchor.number:
            raise
        path, anchor = verified_path(address, domain, now=now, roots=newer.roots), newer
    return path[-1], anchor
