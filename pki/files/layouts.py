"""The credential directories of this field: which file holds what.

One table serves the writer and the reader; ``docs/layouts.md`` shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pki.errors import CredentialError, shown


@dataclass(frozen=True, slots=True)
class Layout:
    """File names within a directory.

    ``chain`` is None where the key's file holds the chain too, behind the key.
    """

    name: str
    key: str
    chain: str | None
    bundle: str
    lists: str

    @property
    def next_key(self) -> str:
        """The key that belongs to a chain which is just being brought in."""
        return f"{self.key}.next"


HANDFAST = Layout("handfast", "key.pem", "chain.pem", "bundle.pem", "crl.pem")
LAYOUTS = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            HANDFAST,
            # ca.crl is what ingress-nginx reads from such a secret.
            Layout("kubernetes", "tls.key", "tls.crt", "ca.crt", "ca.crl"),
            Layout("spiffe-helper", "svid_key.pem", "svid.pem", "svid_bundle.pem", "crl.pem"),
            Layout("spire", "svid.0.key", "svid.0.pem", "bundle.0.pem", "crl.pem"),
            Layout("certbot", "privkey.pem", "fullchain.pem", "chain.pem", "crl.pem"),
            Layout(
                "spiffe-files",
                "credential-bundle.private-key.pem",
                None,
                "trust-bundle.pem",
                "crl.pem",
            ),
        )
    }
)


def layout_named(name: str) -> Layout:
    """Give a layout by its name.

    Raises:
        CredentialError: if there is none.
    """
    if name not in LAYOUTS:
        raise CredentialError(
            f"layout {shown(name)} is unknown", remedy=f"Use one of {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[name]


def detect_layout(directory: Path) -> Layout:
    """Tell a directory's layout by the name of its key file.

    Raises:
        CredentialError: if it holds none or more than one of them, or can't be looked into.
    """
    try:
        found = [
            layout
            for layout in LAYOUTS.values()
            if (directory / layout.key).exists() or (directory / layout.next_key).exists()
        ]
    except OSError as error:
        raise CredentialError(f"{shown(directory)} can't be read: {error.strerror}") from None
    if len(found) == 1:
        return found[0]
    if found:
        raise CredentialError(
            f"{shown(directory)} holds keys of several layouts: "
            + ", ".join(layout.name for layout in found),
            remedy="Name the layout",
        )
    raise CredentialError(
        f"{shown(directory)} holds no credential: none of "
        + ", ".join(layout.key for layout in LAYOUTS.values()),
        remedy="Issue one with: handfast issue NAME --out DIR",
    )
