"""Certificates for workloads that ask the CA over the network, each with a proof of who it is.

Every function is one operation: it takes effect as a whole, or not at all. What may be signed is
decided where it is signed, in ``pki.authority.admission``.
"""

from pki.authority.enrollment.adoption import register_existing
from pki.authority.enrollment.batch import issue_for_registrar
from pki.authority.enrollment.enroll import Enrollment, VerifiedJwt, enroll
from pki.authority.enrollment.nonces import Nonces
from pki.authority.enrollment.obtained import Obtained
from pki.authority.enrollment.own import issue_own
from pki.authority.enrollment.recover import recover
from pki.authority.enrollment.recovery import Recovery
from pki.authority.enrollment.registering import (
    create_registration,
    delete_registration,
    get_registration,
    list_registrations,
    update_registration,
)
from pki.authority.enrollment.renew import renew_own
from pki.authority.enrollment.revoke import (
    check_may_revoke,
    revoke_own,
    revoke_serial,
    revoke_workload,
)
from pki.authority.enrollment.tokens import NewToken, create_token

__all__ = [
    "Enrollment",
    "NewToken",
    "Nonces",
    "Obtained",
    "Recovery",
    "VerifiedJwt",
    "check_may_revoke",
    "create_registration",
    "create_token",
    "delete_registration",
    "enroll",
    "get_registration",
    "issue_for_registrar",
    "issue_own",
    "list_registrations",
    "recover",
    "register_existing",
    "renew_own",
    "revoke_own",
    "revoke_serial",
    "revoke_workload",
    "update_registration",
]
