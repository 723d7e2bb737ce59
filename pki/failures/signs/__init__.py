"""What each program writes when a handshake or call fails, and which failure it stands for.

A text is recognised by its whole words, in order; ``…`` stands for one value between them. Much of what
gRPC, Python, Envoy, nginx and curl write comes from OpenSSL or BoringSSL: such texts stand under the
library's name. The texts come from the programs' sources or from real failures. A text that may
stand for several causes names all of them, the likeliest first.
"""

from pki.failures.sign import Sign
from pki.failures.signs.alerts import ALERT_SIGNS
from pki.failures.signs.browsers import BROWSERS
from pki.failures.signs.credential_files import CREDENTIAL_FILES
from pki.failures.signs.databases import DATABASES
from pki.failures.signs.dotnet import WINDOWS
from pki.failures.signs.grpc_core import CORE
from pki.failures.signs.handfast import OURS
from pki.failures.signs.languages import LANGUAGES
from pki.failures.signs.libraries import LIBRARIES
from pki.failures.signs.platforms import PLATFORMS
from pki.failures.signs.proxies import PROXIES
from pki.failures.signs.rust import RUSTLS
from pki.failures.signs.verify_reasons import NODE_NAMES, REASONS, SHORT_REASONS

SIGNS: tuple[Sign, ...] = (
    *CORE,
    *LIBRARIES,
    *REASONS,
    *SHORT_REASONS,
    *ALERT_SIGNS,
    *LANGUAGES,
    *RUSTLS,
    *NODE_NAMES,
    *WINDOWS,
    *PROXIES,
    *BROWSERS,
    *DATABASES,
    *PLATFORMS,
    *CREDENTIAL_FILES,
    *OURS,
)

__all__ = ["SIGNS", "Sign"]
