"""What is done where the roots' keys are: make a root, and sign what a request asks for.

The rules for a request:

1. It is in its one encoding, and everything in it is of one trust domain.
2. An issuing CA gets the profile of handfast's own: ``pathlen:0``, critical name constraints of the
   trust domain, the name that its key gives it. Its key is not a root's, and it ends before its
   root does.
3. A trust bundle follows the one before it: the next number, its SHA-256, a root in common or one
   that was trusted before among the signers.
4. A root signs only for itself, and only what :func:`describe_request` tells the person beside it.

Nothing here reads a file or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.authority.crls import RootCrlOrder, build_root_crls
from pki.authority.ledger import IssuerKind
from pki.authority.lifetimes import check_root_lifetime
from pki.authority.orders import ca_subject
from pki.authority.rotation.answers import RootAnswer, SignedCrls, root_id
from pki.authority.rotation.requests import IssuerRequest, RootRequest
from pki.authority.signing import check_validity, sign_issuer
from pki.errors import InputError, StateError
from pki.identity import TrustDomain
from pki.keys import PrivateKey, public_key_fingerprint, secret_fingerprint
from pki.x509.bundle_chain import BundleContent, sign_bundle
from pki.x509.decoding import public_key_of
from pki.x509.profiles import RootProfile
from pki.x509.profiles.builder import Validity


@dataclass(frozen=True, slots=True)
class RootKeys:
    """The roots' keys that are at hand, by SHA-256 of the public key."""

    by_fingerprint: Mapping[str, PrivateKey]

    @classmethod
    def of(cls, *keys: PrivateKey) -> RootKeys:
        """Return these keys."""
        return cls({public_key_fingerprint(key.public_key()): key for key in keys})

    def of_root(self, root: x509.Certificate) -> PrivateKey | None:
        """Return the key of a root; None if it is not at hand."""
        return self.by_fingerprint.get(public_key_fingerprint(public_key_of(root)))


def make_root(
    trust_domain: TrustDomain,
    key: PrivateKey,
    *,
    lifetime: timedelta,
    issuing_lifetime: timedelta,
    backdate: timedelta,
    now: datetime,
) -> x509.Certificate:
    """Make a root's certificate, signed with its own key.

    Args:
        trust_domain: of the root.
        key: the root's new key.
        lifetime: of the root, in whole seconds.
        issuing_lifetime: of the issuing CAs that it will sign.
        backdate: how long before now it begins, because clocks differ.
        now: the time.

    Raises:
        InputError: if the lifetime is too short for such issuing CAs.
    """
    check_root_lifetime(lifetime, issuing_lifetime)
    now = now.replace(microsecond=0)
    key_id = public_key_fingerprint(key.public_key())[:16]
    return RootProfile.build(
        trust_domain,
        key,
        subject=ca_subject(trust_domain, IssuerKind.ROOT, key_id),
        validity=Validity(now - backdate, now + lifetime),
    )


def sign_request(request: RootRequest, keys: RootKeys, *, now: datetime) -> RootAnswer:
    """Sign what a request asks of those roots whose keys are at hand.

    Args:
        request: the request.
        keys: the keys at hand.
        now: the time.

    Raises:
        InputError: if the request breaks a rule.
        StateError: if no key for it is at hand, or the clock is outside a root's validity.
    """
    check_request(request)
    for root in request.roots():
        if keys.of_root(root) is not None:
            check_validity(root, now, what="root")
    issuing = None
    if request.issuing is not None:
        key = keys.of_root(request.issuing.root)
        if key is not None:
            issuing = sign_issuer(
                request.issuing.order(),
                subject=request.issuing.subject(),
                root=request.issuing.root,
                root_key=key,
                serial=request.issuing.serial,
            )
    bundle = None
    if request.bundle is not None:
        held = [keys.of_root(root) for root in _bundle_signers(request)]
        signers = [key for key in held if key is not None]
        bundle = sign_bundle(request.bundle, signers) if signers else None
    crls = []
    for order in request.crls:
        key = keys.of_root(order.root)
        if key is not None:
            complete = with_issuing(order, request.issuing, issuing)
            crls.append(SignedCrls(root_id(order.root), build_root_crls(complete, key)))
    if issuing is None and bundle is None and not crls:
        raise StateError(
            "none of the keys here is that of a root that must sign this request",
            remedy="Bring the key of one of these roots: "
            + ", ".join(key_id_of_root(root) for root in request.roots()),
        )
    return RootAnswer(
        request.digest, issuing, bundle, tuple(sorted(crls, key=lambda item: item.root))
    )


def with_issuing(
    order: RootCrlOrder, request: IssuerRequest | None, issuing: x509.Certificate | None
) -> RootCrlOrder:
    """Return an order of CRLs that covers the issuing CA which the same root signs, if it does."""
    if request is None or issuing is None or request.root != order.root:
        return order
    return replace(order, trusted=(*order.trusted, issuing))


def check_request(request: RootRequest) -> None:
    """Check a request by the rules above, without any key.

    Raises:
        InputError: if it breaks one.
    """
    root_keys = {secret_fingerprint(public_key_of(root)) for root in request.roots()}
    if request.issuing is not None:
        if secret_fingerprint(request.issuing.public_key()) in root_keys:
            raise InputError("the request asks for an issuing CA with the key of a root")
        if request.issuing.validity.not_after > request.issuing.root.not_valid_after_utc:
            raise InputError("the request asks for an issuing CA that ends after its root")
        if request.issuing.validity.not_before < request.issuing.root.not_valid_before_utc:
            raise InputError("the request asks for an issuing CA that begins before its root")
    for order in request.crls:
        for certificate in (*order.distrusted, *order.trusted):
            if certificate.issuer != order.root.subject:
                raise InputError("the request names an issuing CA of another root on a CRL")
    if request.bundle is not None:
        _check_bundle(request.bundle, request.previous, request.trust_domain)
    elif request.previous is not None:
        raise InputError("the request names a bundle before one that is not there")


def describe_request(request: RootRequest) -> list[str]:
    """Return what a request asks for, one line each, for the person beside the roots' keys."""
    lines = [
        f"Request {request.digest[:16]} of the CA of {request.trust_domain}, made at "
        f"{request.made_at:%Y-%m-%d %H:%M:%S} UTC: {request.purpose.value}"
    ]
    if request.bundle is not None:
        lines.append(f"  trust bundle {request.bundle.number}")
        before = set(request.previous.roots) if request.previous is not None else set()
        for root in request.bundle.roots:
            verb = "keeps" if root in before else "ADDS"
            lines.append(f"    {verb} {describe_root(root)}")
        lines += [f"    REMOVES {describe_root(root)}" for root in request.removed_roots()]
        old_key = request.previous.audit_key if request.previous is not None else None
        if request.bundle.audit_key is not None and request.bundle.audit_key != old_key:
            lines.append(f"    SETS the audit log's key {request.bundle.audit_key.hex()}")
        old_log = request.previous.audit_origin if request.previous is not None else None
        if request.bundle.audit_origin != old_log:
            lines.append(
                f"    ACKNOWLEDGES that the CA was restored: its audit log is "
                f"{request.bundle.log_origin} from now on"
            )
    if request.issuing is not None:
        limits, validity = request.issuing.limits, request.issuing.validity
        lines.append(
            f"  issuing CA {request.issuing.key_id()} under root "
            f"{key_id_of_root(request.issuing.root)}, {validity.not_before:%Y-%m-%d} to "
            f"{validity.not_after:%Y-%m-%d}"
        )
        if request.issuing.serial is not None:
            lines.append(f"    serial number {request.issuing.serial:x}")
        lines.append(
            f"    may certify names of {limits.trust_domain}"
            + "".join(f", {item}" for item in (*limits.dns, *limits.ip))
        )
    for order in request.crls:
        number = sum(1 for _ in order.sets())
        distrusted = len(order.distrusted) + len(order.unrecorded)
        lines.append(
            f"  CRL {order.base} of root {key_id_of_root(order.root)}, which revokes {distrusted} "
            f"issuing CAs, and {number - 1} or more that are used only to distrust further ones"
        )
    return lines


def describe_root(root: x509.Certificate) -> str:
    """Return what a person needs to recognize a root."""
    return (
        f"root {key_id_of_root(root)} until {root.not_valid_after_utc:%Y-%m-%d}, SHA-256 "
        f"{root.fingerprint(hashes.SHA256()).hex()}"
    )


def key_id_of_root(root: x509.Certificate) -> str:
    """Return the id of a root's key."""
    return public_key_fingerprint(public_key_of(root))[:16]


def _bundle_signers(request: RootRequest) -> tuple[x509.Certificate, ...]:
    """Return the roots that may sign the request's bundle: those before it, and its own."""
    before = request.previous.roots if request.previous is not None else ()
    own = request.bundle.roots if request.bundle is not None else ()
    return tuple(dict.fromkeys((*before, *own)))


def _check_bundle(
    bundle: BundleContent, previous: BundleContent | None, domain: TrustDomain
) -> None:
    if bundle.trust_domain != domain:
        raise InputError(f"the request of {domain} holds a trust bundle of {bundle.trust_domain}")
    if previous is None:
        if bundle.number != 1:
            raise InputError(
                f"the request holds trust bundle {bundle.number} without the one before it"
            )
        return
    if previous.trust_domain != domain:
        raise InputError(f"the request of {domain} holds a trust bundle of another trust domain")
    if bundle.number != previous.number + 1 or bundle.previous != previous.digest:
        raise InputError(
            f"trust bundle {bundle.number} of the request does not follow bundle {previous.number}"
        )


def missing_keys(request: RootRequest, keys: RootKeys) -> tuple[x509.Certificate, ...]:
    """Return the roots whose keys are needed and not at hand; empty if all can be signed."""
    needed = [order.root for order in request.crls]
    needed += [request.issuing.root] if request.issuing is not None else []
    if request.bundle is not None:
        before = request.previous.roots if request.previous is not None else ()
        added = [root for root in request.bundle.roots if root not in before]
        needed += added
        # One of those before must sign, and one of its own; those that it adds are its own.
        for any_of in (before, request.bundle.roots):
            if any_of and not any(keys.of_root(root) or root in added for root in any_of):
                needed += any_of
    return tuple(root for root in dict.fromkeys(needed) if keys.of_root(root) is None)
