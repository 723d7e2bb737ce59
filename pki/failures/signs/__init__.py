"""What each program writes when a handshake or call fails, and which failure it stands for.

A text is recognised by its pieces, in order; ``…`` stands for anything between them. Much of what
gRPC, Python, Envoy, nginx and curl write comes from OpenSSL or BoringSSL: such texts stand under the
library's name. The texts come from the programs' sources or from real failures. A text that may
stand for several causes names all of them, the likeliest first.
"""

from pki.failures.sign import Sign
from pki.failures.signs.grpc_core import CORE
from pki.failures.signs.handfast import OURS
from pki.failures.signs.languages import LANGUAGES
from pki.failures.signs.libraries import LIBRARIES
from pki.failures.signs.proxies import PROXIES

SIGNS: tuple[Sign, ...] = (*CORE, *LIBRARIES, *LANGUAGES, *PROXIES, *OURS)

__all__ = ["SIGNS", "Sign"]
