"""What a worker is told before it begins: all that the command was told, and was answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.signers import TokenAccess
from pki.daemon import CaSettings


@dataclass(frozen=True, slots=True)
class WorkerOrders:
    """What a worker serves. Secrets are here, and never among its arguments or its environment.

    Args:
        number: which one it is, from 1 on.
        folder: the CA's.
        settings: how it is served, with the numbers of its ports.
        ledger: where the ledger lies; None for the CA's folder.
        passphrase: of the CA's keys; None if there is none.
        tokens: how to reach PKCS#11 tokens, without a person to ask.
        pins: the PINs that a person has typed, by the label of the token.
        metrics: where it shows the metrics of all; None for nowhere.
        counts: whether one of the workers shows them.
    """

    number: int
    folder: Path
    settings: CaSettings
    ledger: LedgerPlace | None
    passphrase: bytes | None = field(repr=False)
    tokens: TokenAccess
    pins: dict[str, str] = field(repr=False)
    metrics: str | None
    counts: bool
