"""Merge into a wallet's metadata: JSON merge patch (RFC 7396). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(target: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """`target` with `patch` merged into it, as a new object: a null removes its key, an object is merged in its turn.

    Anything else replaces what was there, a list as a whole. What the patch does not name stays as it is and where it
    is; new keys come last.
    """
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged
