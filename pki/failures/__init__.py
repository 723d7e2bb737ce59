"""The failures of mutual TLS: one table, and all that handfast says of them comes from it.

``handfast doctor`` names them, ``handfast explain`` recognises them in the logs of any program, the
runtime puts them into errors, and ``docs/failures/`` shows them.
"""

from pki.failures.failure import Failure
from pki.failures.recognise import Match, recognise
from pki.failures.signs import SIGNS, Sign
from pki.failures.table import FAILURES

__all__ = ["FAILURES", "SIGNS", "Failure", "Match", "Sign", "recognise"]
