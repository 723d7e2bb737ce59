"""The request for a renewal, as the client makes it."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.ca_client.calls import signing_request
from pki.identity import TrustDomain
from pki.keys import PrivateKey, generate_key
from pki.proofs import Purpose, bind_request


def renewal_message(leaf: x509.Certificate, trust_domain: TrustDomain) -> tuple[PrivateKey, bytes]:
    """Return a new key, and the message that asks to renew a certificate with it."""
    key = generate_key()
    request = signing_request(key)
    proof = leaf.public_bytes(serialization.Encoding.DER)
    binding = bind_request(key, Purpose.RENEW, trust_domain, proof=proof, request=request)
    return key, authority_pb2.RenewRequest(request=request, binding=binding).SerializeToString()
