"""Comparing parsed names: never with text, because that is never equal and looks as if it were."""

from __future__ import annotations


def compare_with_other_kind(name: object, other: object) -> bool:
    """Return ``NotImplemented``, as ``__eq__`` does for another kind of object.

    Raises:
        TypeError: if the other is text. ``if pki.peer().spiffe_id == "spiffe://..."`` would be
            false for every peer, and whatever it should keep out would be let in.
    """
    if isinstance(other, str):
        kind = type(name).__name__
        raise TypeError(
            f"a {kind} is never equal to text: compare str(...) of it, or parse the text with "
            f"{kind}.parse(...)"
        )
    # As Python's own comparisons do; the type says what their callers see.
    return NotImplemented  # type: ignore[no-any-return]
