"""What certificates, requests, keys, lists and stores hold: for people, whoever made them.

The rules:

1. What is bad is shown, never refused: only what can't be decoded at all is an error.
2. No secret is ever shown: of a key its kind and the fingerprint of its public half.
3. Whatever comes from the object goes through ``shown``, and is bounded in number and length.
"""

from pki.inspection.describe import MAX_BYTES, describe
from pki.inspection.thing import Flag, Level, Row, Thing
from pki.inspection.together import judge_together

__all__ = ["MAX_BYTES", "Flag", "Level", "Row", "Thing", "describe", "judge_together"]
