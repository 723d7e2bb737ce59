"""The layouts of credential directories: which file holds what.

The reader and the writer use the same table. ``docs/layouts.md`` shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pki.errors import CredentialError, quote_untrusted


@dataclass(frozen=True, slots=True)
class Layout:
    """The file names of a credential directory.

    ``chain`` is None if the key's file also holds the chain, after the key.
    """

    name: str
    key: str
    chain: str | None
    bundle: str
    crls: str

    @property
    def next_key(self) -> str:
        """The key of the next chain, while a renewal is in progress."""
        return f"{self.key}.next"

    def file_names(self) -> tuple[str, ...]:
        """Return the names of all files that a directory in this layout may hold."""
        names = (self.key, self.next_key, self.chain, self.bundle, self.crls)
        return tuple(name for name in names if name is not None)


_CERTBOT_CHAIN = "fullchain.pem"
HANDFAST = Layout("handfast", "key.pem", "chain.pem", "bundle.pem", "crl.pem")
LAYOUTS = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            HANDFAST,
            # ingress-nginx reads ca.crl from such a secret.
            Layout("kubernetes", "tls.key", "tls.crt", "ca.crt", "ca.crl"),
            Layout("spiffe-helper", "svid_key.pem", "svid.pem", "svid_bundle.pem", "crl.pem"),
            Layout("spire", "svid.0.key", "svid.0.pem", "bundle.0.pem", "crl.pem"),
            # Certbot's own chain.pem holds intermediates, which are never taken for roots.
            Layout("certbot", "privkey.pem", _CERTBOT_CHAIN, "roots.pem", "crl.pem"),
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
    """Return a layout by its name.

    Raises:
        CredentialError: if there is none.
    """
    if name not in LAYOUTS:
        raise CredentialError(
            f"layout {quote_untrusted(name)} is unknown", remedy=f"Use one of {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[name]


def detect_layout(directory: Path) -> Layout:
    """Detect a directory's layout by the name of its key file.

    Raises:
        CredentialError: if it holds the key files of no layout or of several, or can't be read.
    """
    layout = _only_layout_in(directory, lambda layout: (layout.key, layout.next_key))
    if layout is not None:
        return layout
    raise CredentialError(
        f"{quote_untrusted(directory)} holds no credential: none of "
        + ", ".join(layout.key for layout in LAYOUTS.values()),
        remedy="Enroll it: handfast enroll TOKEN --out DIR; or where the CA's folder is, issue it: "
        "handfast issue NAME --out DIR",
    )


def find_layout(directory: Path) -> tuple[Layout, bool] | None:
    """Return a directory's layout and whether it holds a key; None if it holds no credential.

    A directory whose certificate was issued for a request (CSR) holds a chain without a key.

    Raises:
        CredentialError: if it holds files of several layouts, or can't be read.
    """
    with_key = _only_layout_in(directory, lambda layout: (layout.key, layout.next_key))
    if with_key is not None:
        return with_key, True
    if path_exists(directory / _CERTBOT_CHAIN):
        # Checked first, because certbot's intermediates are named like another layout's chain.
        return LAYOUTS["certbot"], False
    chain_only = _only_layout_in(
        directory, lambda layout: (layout.chain,) if layout.chain is not None else ()
    )
    return (chain_only, False) if chain_only is not None else None


def awaits_first_certificate(directory: Path, layout: Layout) -> bool:
    """Return whether a directory holds the key of a request alone, as before an enrollment ends.

    Raises:
        CredentialError: if the directory can't be read.
    """
    others = [name for name in layout.file_names() if name != layout.next_key]
    return path_exists(directory / layout.next_key) and not any(
        path_exists(directory / name) for name in others
    )


def path_exists(path: Path) -> bool:
    """Return whether a path exists; a symbolic link without a target exists too.

    Raises:
        CredentialError: if the directory can't be read.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CredentialError(
            f"{quote_untrusted(path.parent)} can't be read: {error.strerror}",
            remedy="Name another directory, or run this as a user that may read it",
        ) from None
    return True


def _only_layout_in(directory: Path, names: Callable[[Layout], tuple[str, ...]]) -> Layout | None:
    layouts = [
        layout
        for layout in LAYOUTS.values()
        if any(path_exists(directory / name) for name in names(layout))
    ]
    if len(layouts) > 1:
        raise CredentialError(
            f"{quote_untrusted(directory)} holds files of several layouts: "
            + ", ".join(layout.name for layout in layouts),
            remedy="Name the layout, or move the files of the other layouts away",
        )
    return layouts[0] if layouts else None
