"""Subject names as parsed values: X.501 distinguished names, written as RFC 4514 text.

A subject is compared whole and by type, never as a string cut from a DN.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from pki.errors import NameRefusedError, shown

_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """A distinguished name: its attributes as (OID, value) sets, in the certificate's order.

    Each inner frozenset is one relative distinguished name.
    """

    rdns: tuple[frozenset[tuple[str, str]], ...]

    @classmethod
    def of_name(cls, name: x509.Name) -> Subject:
        """Take the name of a certificate apart.

        Raises:
            NameRefusedError: if a value is no text (an X.500 unique identifier, say).
        """
        rdns = []
        for rdn in name.rdns:
            attributes = set()
            for attribute in rdn:
                if not isinstance(attribute.value, str):
                    raise NameRefusedError(
                        f"subject attribute {attribute.oid.dotted_string} is no text"
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
        if len(text) > _MAX_TEXT or any(not character.isprintable() for character in text):
            raise NameRefusedError(f"subject {shown(text)} is too long or not printable")
        try:
            name = x509.Name.from_rfc4514_string(text)
        except (ValueError, KeyError) as error:
            raise NameRefusedError(
                f"{shown(text)} is no distinguished name: {shown(error)} (RFC 4514)",
                remedy="Write it like CN=audit,O=shop.internal",
            ) from error
        if not name.rdns:
            raise NameRefusedError("an empty distinguished name matches nothing")
        return cls.of_name(name)

    def to_name(self) -> x509.Name:
        """Give the name as cryptography's builders want it."""
        return x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in rdn]
                )
                for rdn in self.rdns
            ]
        )

    @property
    def common_name(self) -> str | None:
        """The one CN, or None if there is none or more than one."""
        oid = x509.NameOID.COMMON_NAME.dotted_string
        found = [value for rdn in self.rdns for kind, value in rdn if kind == oid]
        return found[0] if len(found) == 1 else None

    def __str__(self) -> str:
        """Give RFC 4514 text, most specific part first."""
        return self.to_name().rfc4514_string()
