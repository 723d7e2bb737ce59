"""The runtime in a user's process: gRPC with mutual TLS, roles and revocation."""

from pki.rpc.decision_log import LogWhen
from pki.rpc.peer import Peer, peer
from pki.rpc.reasons import reason_of
from pki.rpc.source import DirectorySource, PemSource, Source
from pki.rpc.workload import Workload

__all__ = [
    "DirectorySource",
    "LogWhen",
    "Peer",
    "PemSource",
    "Source",
    "Workload",
    "peer",
    "reason_of",
]
