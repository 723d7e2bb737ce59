"""HTTPS with mutual TLS, for what is read by others than gRPC's callers."""

from pki.web.page_server import Page, PageServer

__all__ = ["Page", "PageServer"]
