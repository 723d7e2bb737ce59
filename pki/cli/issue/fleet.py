"""Issues for many workloads in one process: each directory is written whole, or left as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from cryptography import x509

from pki.authority import Authority, Issued
from pki.cli.issue.orders_file import PlacedOrder, refuse_faults
from pki.cli.options import ca_directory
from pki.cli.state.issuing import refuse_ca_folder, save_issued
from pki.cli.state.trust_distribution import issuer_certificates
from pki.errors import InputError, LedgerError, PkiError, quote_untrusted
from pki.files import Layout, writer_lock
from pki.files.layouts import path_exists
from pki.files.new_directory import NewDirectory, write_new_directories
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.identity import SpiffeId

_AT_ONCE = 100
"""So many are one commit of the ledger, and are lost together if the process is killed."""


@dataclass(slots=True)
class FleetOrder:
    """What is issued to one workload, and how that ended.

    Args:
        placed: the order.
        folder: where it is written.
        issued: what was issued; None if nothing was.
        error: why it is not in place.
        directory: what is written, where the directory was not there before.
    """

    placed: PlacedOrder
    folder: Path
    issued: Issued | None = None
    error: PkiError | None = None
    directory: NewDirectory | None = None
    is_saved: bool = False

    @property
    def is_in_place(self) -> bool:
        """Whether its directory holds what was issued."""
        return self.is_saved or (self.directory is not None and self.directory.is_in_place)


@dataclass(slots=True)
class Fleet:
    """Issues to many workloads.

    Args:
        authority: the CA.
        state: the state folder.
        layout: of the directories.
        orders: in the order in which they are to be told.
    """

    authority: Authority
    state: Path
    layout: Layout
    orders: list[FleetOrder] = field(default_factory=list)
    _above: set[Path] = field(default_factory=set)

    def place(self, placed: Sequence[PlacedOrder]) -> None:
        """Decide where each is written.

        Raises:
            InputError: if a name can't be one, or two would be written to one directory.
        """
        faults: list[str] = []
        taken: dict[str, str] = {}
        for item in placed:
            try:
                real = self._place(item, taken)
            except PkiError as error:
                if item.line is None:
                    raise
                faults.append(f"line {item.line}: {error.message}")
            else:
                taken[real] = item.order.name
                self._above.update(Path(real).parents)
        refuse_faults(faults, "the file")

    def _place(self, item: PlacedOrder, taken: Mapping[str, str]) -> str:
        """Decide where one is written; return that path without links."""
        workload = SpiffeId.parse_name(item.order.name, self.authority.trust_domain)
        folder = item.out or self.state / workload.path
        real = os.path.realpath(folder)
        if real in taken:
            raise InputError(
                f"{quote_untrusted(taken[real])} and {quote_untrusted(item.order.name)} would "
                f"both be written to {quote_untrusted(folder)}",
                remedy="Nothing was issued. Name each once, or give one of them an out",
            )
        self.orders.append(FleetOrder(item, folder))
        return real

    def issue(self, done: Callable[[int], None]) -> None:
        """Issue all of them; one that fails does not stop the others.

        Args:
            done: is called with the number of orders that have ended since the last call.
        """
        issuers = issuer_certificates(self.authority)
        for is_new, run in groupby(self.orders, self._is_new):
            for part in _parts(list(run)):
                if is_new:
                    self._issue_new(part)
                else:
                    for item in part:
                        self._issue_over(item, issuers)
                done(len(part))

    def _is_new(self, item: FleetOrder) -> bool:
        try:
            # One that others lie in must be there before them, and then it is not renamed any more.
            holds_others = Path(os.path.realpath(item.folder)) in self._above
            return not holds_others and not path_exists(item.folder)
        except PkiError:
            # Whatever it is, the other way says it.
            return False

    def _issue_new(self, orders: Sequence[FleetOrder]) -> None:
        """Issue to workloads whose directories are not there yet, in one commit."""
        for item in orders:
            try:
                refuse_ca_folder(item.folder, ca_directory(self.state))
            except PkiError as error:
                item.error = error
        wanted = [item for item in orders if item.error is None]
        try:
            results = self.authority.issue_each([item.placed.order for item in wanted])
        except LedgerError as error:
            for item in wanted:
                item.error = error
            return
        for item, result in zip(wanted, results, strict=True):
            if isinstance(result, PkiError):
                item.error = result
            else:
                item.issued = result
                item.directory = NewDirectory(item.folder, result.credential, self.layout)
        write_new_directories([item.directory for item in wanted if item.directory is not None])
        for item in wanted:
            if item.directory is not None:
                item.error = item.directory.error

    def _issue_over(self, item: FleetOrder, issuers: tuple[x509.Certificate, ...]) -> None:
        """Issue to a workload whose directory is there."""
        order = item.placed.order
        try:
            workload = SpiffeId.parse_name(order.name, self.authority.trust_domain)
            refuse_ca_folder(item.folder, ca_directory(self.state))
            with writer_lock(item.folder, layout=self.layout, wait_seconds=0):
                refuse_overwrite(
                    item.folder,
                    CredentialOwner.of_workload(workload),
                    layout=self.layout,
                    ca_certificates=issuers,
                )
                [result] = self.authority.issue_each([order])
                if isinstance(result, PkiError):
                    raise result
                item.issued = result
                save_issued(result, item.folder, self.layout)
                item.is_saved = True
        except PkiError as error:
            item.error = error


def _parts(orders: list[FleetOrder]) -> Iterator[list[FleetOrder]]:
    for begin in range(0, len(orders), _AT_ONCE):
        yield orders[begin : begin + _AT_ONCE]
