"""Describes revocation lists."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from pki.inspection.formatting import MOST_LISTED, format_list, format_time, quote_if_unsafe
from pki.inspection.report_item import Level, ReportItem
from pki.x509.decoding import UNREADABLE


def describe_crl(crl: x509.CertificateRevocationList, now: datetime) -> ReportItem:
    """Describe a revocation list."""
    report = ReportItem("revocation list", object=crl)
    issuer = crl.issuer.rfc4514_string()
    number = _number(crl)
    begin, end = crl.last_update_utc, crl.next_update_utc
    entries = len(crl)
    report.title = quote_if_unsafe(issuer, allow_letters=True)
    report.facts |= {
        "issuer": issuer,
        "number": number,
        "entries": entries,
        "this_update": begin,
        "next_update": end,
    }
    report.row("issuer", quote_if_unsafe(issuer, allow_letters=True))
    report.row("number", "-" if number is None else str(number))
    report.row("until", "no end" if end is None else format_time(end, now))
    report.row("from", format_time(begin, now))
    report.row("entries", str(entries))
    if entries:
        shown_entries = [crl[at] for at in range(min(entries, MOST_LISTED))]
        report.row("revoked", format_list(f"{item.serial_number:x}" for item in shown_entries))
        if entries > MOST_LISTED:
            report.row("", f"and {entries - MOST_LISTED} more")
    if end is None:
        report.flag(Level.WARNING, "names no next update")
    elif end < now:
        report.flag(Level.BAD, "stale: its next update has passed")
    elif now > begin + (end - begin) / 2:
        report.flag(Level.WARNING, "past half of its life")
    else:
        report.flag(Level.GOOD, "fresh")
    if begin > now:
        report.flag(Level.BAD, "begins in the future")
    return report


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None
