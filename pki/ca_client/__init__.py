"""A workload's side of the CA's service: enroll, renew, recover, and follow what is trusted."""

from pki.ca_client.identity import CaIdentity
from pki.ca_client.source import CaSource

__all__ = ["CaIdentity", "CaSource"]
