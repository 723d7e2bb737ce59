"""The CA: issues, renews, revokes, and remembers durably what it did."""

from pki.extras import require_one_version

# Before all else: modules of two versions may fail in any way, or not at all.
require_one_version()

from pki.authority.authority import Authority  # noqa: E402
from pki.authority.issued import Issued  # noqa: E402
from pki.authority.ledger import CertificateRecord, IssuerRecord  # noqa: E402
from pki.authority.orders import NamedOrder  # noqa: E402

__all__ = ["Authority", "CertificateRecord", "Issued", "IssuerRecord", "NamedOrder"]
