"""The failures of mutual TLS: one table, from which all that handfast says of them is made.

``handfast doctor`` names them, ``handfast explain`` recognises them in anybody's log, the runtime
puts them into errors, and ``docs/failures/`` shows them.
"""

from pki.failures.failure import Failure
from pki.failures.recognise import Match, recognise
from pki.failures.signs import SIGNS, Sign
from pki.failures.table import FAILURES

__all__ = ["FAILURES", "SIGNS", "Failure", "Match", "Sign", "recognise"]
