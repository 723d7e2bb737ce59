"""The facade that services use: a live credential, and servers and channels that follow it."""

from pki.workload.workload import Workload

__all__ = ["Workload"]
