"""Describes certificates, requests, keys, revocation lists and stores, whoever made them.

The rules:

1. A bad object is described, never refused: only what can't be decoded at all is an error.
2. No secret is ever shown: of a key, only its kind and the fingerprint of its public half.
3. All text from an object is escaped by ``quote_if_unsafe`` or ``quote_untrusted``, and is bounded
   in number and length.
"""

from pki.inspection.cross_checks import cross_check
from pki.inspection.describe import MAX_BYTES, describe
from pki.inspection.report_item import Flag, Level, ReportItem, Row

__all__ = ["MAX_BYTES", "Flag", "Level", "ReportItem", "Row", "cross_check", "describe"]
