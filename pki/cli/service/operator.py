"""Who works on the CA's own machine: an admin, named by the user."""

from __future__ import annotations

import os

from pki.authority.registrations import Caller


def operator() -> Caller:
    """Return the user of this process as a caller of the CA's operations."""
    return Caller(f"local:{os.getuid()}", is_admin=True)
