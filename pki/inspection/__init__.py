"""What certificates, requests, keys, lists and stores hold: for people, whoever made them.

The rules:

1. What is bad is shown, never refused: only what can't be decoded at all is an error.
2. No secret is ever shown: of a key its kind and the fingerprint of its public half.
3. Whatever comes from the object goes through ``shown``, and is bounded in number and length.
"""

from pki.inspection.cross_checks import judge_together
from pki.inspection.describe import MAX_BYTES, describe
from pki.inspection.report_item import Flag, Level, Row, Thing

__all__ = ["MAX_BYTES", "Flag", "Level", "Row", "Thing", "describe", "judge_together"]
