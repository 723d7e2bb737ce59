"""The CA as a gRPC service: ``handfast ca serve``.

Two ports: one with mutual TLS for workloads that have a certificate, and one without client
authentication for those that have none yet. Everything that is decided is decided in
``pki.authority``; here requests are limited, read, run in threads, and answered.
"""

from pki.daemon.service import CaService, CaSettings

__all__ = ["CaService", "CaSettings"]
