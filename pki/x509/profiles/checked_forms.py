"""Certificates that are, but for a few fields, the same bytes as one that was checked.

A CA signs many leaves that differ in nothing but serial number, validity and key. To decode and
check each of them anew takes as long as to sign it. So what was checked once is kept as a form: the
bytes of its TBSCertificate without those fields. A certificate that is the form, filled with the
fields that it shall have, keeps every rule of its profile if these fields keep theirs:

1. the serial number is one that the CA chose: positive and within 20 octets;
2. the validity does not end before it begins;
3. the key is of a kind and strength that the profile accepts.

The caller has checked these. A certificate that is not its form is checked like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

_MOST_SERIAL_BITS = 159  # RFC 5280 §4.1.2.2: 20 octets, and the first bit is the sign
_UTC_TIME_BEGINS, _UTC_TIME_ENDS = 1950, 2050  # RFC 5280 §4.1.2.5


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields in which the certificates of a form differ.

    Args:
        serial: the serial number.
        not_before: the begin of the validity, in UTC.
        not_after: its end.
        public_key: SubjectPublicKeyInfo, DER.
        key_identifier: the subject key identifier.
    """

    serial: int
    not_before: datetime
    not_after: datetime
    public_key: bytes
    key_identifier: bytes

    def encode(self) -> tuple[bytes, ...] | None:
        """Return the bytes of the fields in the order of a certificate.

        Returns:
            None if one is not encoded in the usual way, or breaks a rule.
        """
        bits = self.serial.bit_length()
        years = range(_UTC_TIME_BEGINS, _UTC_TIME_ENDS)
        if (
            not 0 < bits <= _MOST_SERIAL_BITS
            or self.serial < 0
            or self.not_after < self.not_before
            or self.not_before.year not in years
            or self.not_after.year not in years
        ):
            return None
        number = self.serial.to_bytes(bits // 8 + 1, "big")
        validity = b"".join(
            b"\x17\x0d%02d%02d%02d%02d%02d%02dZ"
            % (time.year % 100, time.month, time.day, time.hour, time.minute, time.second)
            for time in (self.not_before, self.not_after)
        )
        return (
            bytes((0x02, len(number))) + number,
            b"\x30\x1e" + validity,
            self.public_key,
            self.key_identifier,
        )


@dataclass(frozen=True, slots=True)
class CheckedForm:
    """The bytes of a certificate that was checked, around the fields that may differ."""

    parts: tuple[bytes, ...]

    @classmethod
    def of(cls, certificate: x509.Certificate, fields: Fields) -> CheckedForm | None:
        """Return the form of a certificate that was checked; None if it has none."""
        encoded = fields.encode()
        if encoded is None:
            return None
        rest = certificate.tbs_certificate_bytes
        parts: list[bytes] = []
        for field in encoded:
            part, found, rest = rest.partition(field)
            if not found:
                return None
            parts.append(part)
        return cls((*parts, rest))

    def fits(self, certificate: x509.Certificate, fields: Fields) -> bool:
        """Return whether a certificate is this form, filled with these fields, and nothing else."""
        encoded = fields.encode()
        if encoded is None:
            return False
        first, *parts = self.parts
        filled = [first]
        for field, part in zip(encoded, parts, strict=True):
            filled += (field, part)
        return b"".join(filled) == certificate.tbs_certificate_bytes
