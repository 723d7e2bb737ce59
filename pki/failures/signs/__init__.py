"""What each party writes when a handshake or call fails, and which failure that stands for.

A text is recognised by its pieces, in order; ``…`` stands for whatever lies between. The words of
gRPC, Python, Envoy, nginx and curl are those of OpenSSL or BoringSSL in large part: what they share
stands under the library's name. Words come from the sources of who writes them or from real
failures; where they don't tell one cause from another, all are named, the likeliest first.
"""

from pki.failures.sign import Sign
from pki.failures.signs.core import CORE
from pki.failures.signs.languages import LANGUAGES
from pki.failures.signs.libraries import LIBRARIES
from pki.failures.signs.ours import OURS
from pki.failures.signs.proxies import PROXIES

SIGNS: tuple[Sign, ...] = (*CORE, *LIBRARIES, *LANGUAGES, *PROXIES, *OURS)

__all__ = ["SIGNS", "Sign"]
