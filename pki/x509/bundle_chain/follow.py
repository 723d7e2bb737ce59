"""Follow a chain of signed trust bundles from one that is trusted to the newest.

The rules, which are those of python-tuf for its roots (The Update Framework 1.0, section 5.3):

1. Numbers rise by one. A gap is refused, and so is a number below that of the trusted bundle.
2. A bundle names the one before it by its SHA-256. A bundle that names another, or that has the
   trusted one's number and another content, is a fork: somebody signed two histories.
3. A bundle is of the trusted bundle's trust domain.
4. At least one root of the bundle before, which is valid now, has signed it.
5. Each root that it adds has signed it: nobody can add a root whose key they do not have.
6. At least one of its own roots, which is valid now, has signed it, so that a newcomer who knows
   that root's fingerprint can begin with this bundle.
7. Every signature that names one of these roots is good. A signature of any other key counts for
   nothing.
8. A refused bundle ends the chain: what was trusted before stays in force.

Nothing here reads a clock: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.identity import TrustDomain
from pki.x509.bundle_chain.refusal import BundleFault, BundleRefusedError
from pki.x509.bundle_chain.signed import SignedBundle

_ENROLL_AGAIN = "Enroll again, with a new token from the CA's operator"
_ASK_AGAIN = "Ask the CA for every bundle after the trusted one, in order"


def follow(trusted: SignedBundle, chain: Iterable[SignedBundle], *, now: datetime) -> SignedBundle:
    """Follow a chain of bundles, link by link.

    Args:
        trusted: the bundle that is trusted; it was verified before.
        chain: the bundles after it, in order. It may begin with the trusted one itself.
        now: the time, with a time zone.

    Returns:
        The last bundle of the chain; the trusted one if there is none.

    Raises:
        BundleRefusedError: if a bundle is not accepted; ``fault`` says why.
    """
    for bundle in chain:
        trusted = _next(trusted, bundle, now)
    return trusted


def begin(
    bundle: SignedBundle, *, trust_domain: TrustDomain, fingerprint: bytes, now: datetime
) -> SignedBundle:
    """Accept a bundle as the first one, by the fingerprint of one of its roots.

    Args:
        bundle: the bundle, of any number.
        trust_domain: the expected trust domain.
        fingerprint: SHA-256 of the root's certificate (DER), from a source that is trusted.
        now: the time, with a time zone.

    Raises:
        BundleRefusedError: if the bundle is of another trust domain, does not hold that root, or
            that root, valid now, has not signed it; ``fault`` says which.
    """
    if bundle.content.trust_domain != trust_domain:
        raise _wrong_domain(bundle, trust_domain)
    for root in bundle.content.roots:
        if root.fingerprint(hashes.SHA256()) == fingerprint:
            _check_vouched(bundle, [root], now, "the root with the known fingerprint")
            if bundle.number == 1:
                _check_added(bundle, bundle.content.roots)
            return bundle
    raise BundleRefusedError(
        f"trust bundle {bundle.number} holds no root with the fingerprint {fingerprint.hex()}",
        fault=BundleFault.WRONG_ANCHOR,
        remedy="Find out who answers at this address; or the root has been replaced since: "
        + _ENROLL_AGAIN.lower(),
    )


def _next(trusted: SignedBundle, bundle: SignedBundle, now: datetime) -> SignedBundle:
    """Return the bundle that is trusted after this link."""
    old, new = trusted.content, bundle.content
    if new.trust_domain != old.trust_domain:
        raise _wrong_domain(bundle, old.trust_domain)
    if new.number < old.number:
        raise BundleRefusedError(
            f"trust bundle {new.number} is older than bundle {old.number}, which is trusted",
            fault=BundleFault.LOWER_NUMBER,
            remedy="The CA's ledger may be an older copy: ask its operator",
        )
    if new.number == old.number:
        if new.digest == old.digest:
            return trusted
        raise _fork(f"another trust bundle has the number {new.number}, which is trusted")
    if new.number > old.number + 1:
        raise BundleRefusedError(
            f"trust bundle {new.number} does not follow bundle {old.number}, which is trusted",
            fault=BundleFault.GAP,
            remedy=_ASK_AGAIN,
        )
    if new.previous != old.digest:
        raise _fork(
            f"trust bundle {new.number} was made after another bundle {old.number} than the "
            "trusted one"
        )
    _check_vouched(bundle, old.roots, now, f"a root of bundle {old.number}")
    _check_added(bundle, [root for root in new.roots if root not in old.roots])
    _check_vouched(bundle, new.roots, now, "a root of its own")
    return bundle


def _check_vouched(
    bundle: SignedBundle, roots: Iterable[x509.Certificate], now: datetime, who: str
) -> None:
    """Check that one of these roots signed the bundle and is valid now, and no signature is bad."""
    signers = [root for root in roots if bundle.signature_of(root) is not None]
    if not signers:
        raise BundleRefusedError(
            f"trust bundle {bundle.number} is not signed by {who}",
            fault=BundleFault.MISSING_SIGNATURE,
            remedy=_ENROLL_AGAIN,
        )
    for root in signers:
        _check_signature(bundle, root)
    if not any(root.not_valid_before_utc <= now <= root.not_valid_after_utc for root in signers):
        raise BundleRefusedError(
            f"trust bundle {bundle.number} is signed by {who} that is not valid at {now}: "
            + ", ".join(
                f"{root.not_valid_before_utc:%Y-%m-%d} to {root.not_valid_after_utc:%Y-%m-%d}"
                for root in signers
            ),
            fault=BundleFault.EXPIRED_SIGNER,
            remedy=f"Set the clock right; if it is right: {_ENROLL_AGAIN.lower()}",
        )


def _check_added(bundle: SignedBundle, added: Iterable[x509.Certificate]) -> None:
    """Check that each root which the bundle adds has signed it."""
    for root in added:
        if bundle.signature_of(root) is None:
            raise BundleRefusedError(
                f"trust bundle {bundle.number} adds a root that has not signed it: "
                f"{root.fingerprint(hashes.SHA256()).hex()}",
                fault=BundleFault.MISSING_SIGNATURE,
            )
        _check_signature(bundle, root)


def _check_signature(bundle: SignedBundle, root: x509.Certificate) -> None:
    if not bundle.is_signed_by(root):
        raise BundleRefusedError(
            f"trust bundle {bundle.number} has a signature that its root did not make: "
            f"{root.fingerprint(hashes.SHA256()).hex()}",
            fault=BundleFault.BAD_SIGNATURE,
        )


def _wrong_domain(bundle: SignedBundle, expected: TrustDomain) -> BundleRefusedError:
    return BundleRefusedError(
        f"trust bundle {bundle.number} is of {bundle.content.trust_domain}, not of {expected}",
        fault=BundleFault.WRONG_DOMAIN,
        remedy="Ask the CA of that trust domain",
    )


def _fork(message: str) -> BundleRefusedError:
    return BundleRefusedError(
        message,
        fault=BundleFault.FORK,
        remedy="A root signed two histories. Tell the CA's operator: its key may have leaked",
    )
