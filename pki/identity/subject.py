"""Subjects as parsed values: X.501 distinguished names, written as RFC 4514 text.

Subjects are compared as a whole and by type, never as parts of a string.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from cryptography import x509

from pki.errors import NameRefusedError, quote_untrusted
from pki.identity.comparison import compare_with_other_kind

_MAX_TEXT = 1024
_Oid = x509.NameOID
# RFC 4514 section 3; any other type is written as its OID.
_KEYWORDS = MappingProxyType(
    {
        _Oid.COMMON_NAME.dotted_string: "CN",
        _Oid.LOCALITY_NAME.dotted_string: "L",
        _Oid.STATE_OR_PROVINCE_NAME.dotted_string: "ST",
        _Oid.ORGANIZATION_NAME.dotted_string: "O",
        _Oid.ORGANIZATIONAL_UNIT_NAME.dotted_string: "OU",
        _Oid.COUNTRY_NAME.dotted_string: "C",
        _Oid.STREET_ADDRESS.dotted_string: "STREET",
        _Oid.DOMAIN_COMPONENT.dotted_string: "DC",
        _Oid.USER_ID.dotted_string: "UID",
    }
)


@dataclass(frozen=True, slots=True)
class Subject:  # noqa: PLW1641 - the dataclass makes __hash__
    """A distinguished name: its attributes as (OID, value) sets, in the certificate's order.

    Each inner frozenset is one relative distinguished name.
    """

    rdns: tuple[frozenset[tuple[str, str]], ...]

    @classmethod
    def of_name(cls, name: x509.Name) -> Subject:
        """Return the subject for a name of the library.

        Raises:
            NameRefusedError: if a value is not text (e.g. an X.500 unique identifier).
        """
        rdns = []
        for rdn in name.rdns:
            attributes = set()
            for attribute in rdn:
                if not isinstance(attribute.value, str):
                    raise NameRefusedError(
                        f"subject attribute {attribute.oid.dotted_string} is not text"
                    )
                attributes.add((attribute.oid.dotted_string, attribute.value))
            rdns.append(frozenset(attributes))
        return cls(tuple(rdns))

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Parse RFC 4514 text such as ``CN=audit,O=shop.internal`` (most specific part first).

        Raises:
            NameRefusedError: if the text is no distinguished name, or holds control characters.
        """
        if len(text) > _MAX_TEXT or not text.isprintable():
            raise NameRefusedError(f"subject {quote_untrusted(text)} is too long or not printable")
        try:
            name = x509.Name.from_rfc4514_string(text)
        except (ValueError, KeyError) as error:
            raise NameRefusedError(
                f"{quote_untrusted(text)} is no distinguished name: "
                f"{quote_untrusted(error)} (RFC 4514)",
                remedy="Write it like CN=audit,O=shop.internal",
            ) from error
        if not name.rdns:
            raise NameRefusedError("an empty distinguished name matches nothing")
        subject = cls.of_name(name)
        # Checked again, because an escape such as \\00 may encode an unprintable character.
        if not all(value.isprintable() for rdn in subject.rdns for _, value in rdn):
            raise NameRefusedError(
                f"subject {quote_untrusted(text)} holds escapes of unprintable characters"
            )
        return subject

    def to_name(self) -> x509.Name:
        """Return the name as a value of the library.

        Raises:
            NameRefusedError: if a value is empty or longer than RFC 5280 appendix A.1 allows; such
                values may come from another CA's certificate.
        """
        try:
            return x509.Name(
                [
                    x509.RelativeDistinguishedName(
                        x509.NameAttribute(x509.ObjectIdentifier(oid), value)
                        for oid, value in sorted(rdn)
                    )
                    for rdn in self.rdns
                ]
            )
        except ValueError as error:
            raise NameRefusedError(
                f"subject {quote_untrusted(self)} can't be written in a certificate: "
                f"{quote_untrusted(error)}",
                remedy="Give each value 1 to 64 characters, a country two",
            ) from None

    @property
    def common_name(self) -> str | None:
        """The CN; None if there is none or more than one."""
        oid = x509.NameOID.COMMON_NAME.dotted_string
        values = [value for rdn in self.rdns for kind, value in rdn if kind == oid]
        return values[0] if len(values) == 1 else None

    def __eq__(self, other: object) -> bool:
        """Compare with another subject.

        Raises:
            TypeError: if the other is text.
        """
        if not isinstance(other, Subject):
            return compare_with_other_kind(self, other)
        return self.rdns == other.rdns

    def __str__(self) -> str:
        """Return RFC 4514 text, most specific part first.

        It never fails, whatever values the name holds, and equal names give equal texts.
        """
        return ",".join("+".join(map(_text_of, sorted(rdn))) for rdn in reversed(self.rdns))


def _text_of(attribute: tuple[str, str]) -> str:
    """Return one attribute by RFC 4514 section 2.4."""
    oid, value = attribute
    escaped = [f"\\{item}" if item in '"+,;<>\\' else item for item in value]
    if value.startswith((" ", "#")):
        escaped[0] = f"\\{value[0]}"
    if len(value) > 1 and value.endswith(" "):
        escaped[-1] = "\\ "
    return f"{_KEYWORDS.get(oid, oid)}={''.join(escaped)}".replace("\0", "\\00")
