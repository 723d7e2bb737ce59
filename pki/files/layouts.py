"""The credential directories of this field: which file holds what.

One table serves the writer and the reader; ``docs/layouts.md`` shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pki.errors import CredentialError, quote_untrusted


@dataclass(frozen=True, slots=True)
class Layout:
    """File names within a directory.

    ``chain`` is None where the key's file holds the chain too, behind the key.
    """

    name: str
    key: str
    chain: str | None
    bundle: str
    crls: str

    @property
    def next_key(self) -> str:
        """The key that belongs to a chain which is just being brought in."""
        return f"{self.key}.next"


_CERTBOT_CHAIN = "fullchain.pem"
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
            Layout("certbot", "privkey.pem", _CERTBOT_CHAIN, "chain.pem", "crl.pem"),
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
    """Tell a directory's layout by the name of its key file.

    Raises:
        CredentialError: if it holds none or more than one of them, or can't be looked into.
    """
    found = _layouts_in(directory, lambda layout: (layout.key, layout.next_key))
    if found is not None:
        return found
    raise CredentialError(
        f"{quote_untrusted(directory)} holds no credential: none of "
        + ", ".join(layout.key for layout in LAYOUTS.values()),
        remedy="Issue one with: handfast issue NAME --out DIR",
    )


def find_layout(directory: Path) -> tuple[Layout, bool] | None:
    """Tell a directory's layout and whether a key lies there; None if it holds no credential.

    A directory whose certificate was asked for with a request (CSR) holds a chain without a key.

    Raises:
        CredentialError: if files of several layouts lie there, or it can't be looked into.
    """
    with_key = _layouts_in(directory, lambda layout: (layout.key, layout.next_key))
    if with_key is not None:
        return with_key, True
    if is_there(directory / _CERTBOT_CHAIN):
        # The trust bundle of this layout has the name of another's chain.
        return LAYOUTS["certbot"], False
    chain_only = _layouts_in(
        directory, lambda layout: (layout.chain,) if layout.chain is not None else ()
    )
    return (chain_only, False) if chain_only is not None else None


def is_there(path: Path) -> bool:
    """Return whether anything lies at a path, a link that leads nowhere included.

    Raises:
        CredentialError: if that can't be told.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CredentialError(
            f"{quote_untrusted(path.parent)} can't be read: {error.strerror}",
            remedy="Name another directory, or run this as a user that may look into it",
        ) from None
    return True


def _layouts_in(directory: Path, names: Callable[[Layout], tuple[str, ...]]) -> Layout | None:
    found = [
        layout
        for layout in LAYOUTS.values()
        if any(is_there(directory / name) for name in names(layout))
    ]
    if len(found) > 1:
        raise CredentialError(
            f"{quote_untrusted(directory)} holds files of several layouts: "
            + ", ".join(layout.name for layout in found),
            remedy="Name the layout, or take apart what does not belong together",
        )
    return found[0] if found else None
