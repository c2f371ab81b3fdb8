"""Control characters in values: they are spelled in a way that could spell a key another way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from logitlab.constraints.finite import ATOMS, atoms

__all__ = ["SURROGATE", "UNSPELLABLE", "is_closed", "spells_controls"]

SURROGATE = re.compile("[\ud800-\udfff]")
# Surrogates, and control characters without a short escape of their own: those need \uhhhh, and
# with that a key could be spelled in a way that escapes its schema.
UNSPELLABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


def spells_controls(schema: Any) -> bool:
    r"""Say whether a compiled schema names values with characters that only ``\\uhhhh`` spells.

    Examples
    --------
    >>> spells_controls({"const": "\x00"}), spells_controls({"const": "a"})
    (True, False)
    """
    if isinstance(schema, str):
        return bool(UNSPELLABLE.search(schema))
    if isinstance(schema, Mapping):
        return any(map(spells_controls, schema.values()))
    return isinstance(schema, list) and any(map(spells_controls, schema))


def is_closed(schema: Any) -> bool:
    """Say whether no object in a compiled schema may have a key that is not listed."""
    if isinstance(schema, bool):
        return not schema
    if "const" in schema or "enum" in schema:
        return True
    kinds = atoms(schema["type"]) if "type" in schema else ATOMS
    parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())]
    whole = bool(parts) or "$ref" in schema  # of which each part has to be closed
    properties = schema.get("additionalProperties", True) is False
    if "object" in kinds and not whole and (not properties or schema.get("patternProperties")):
        return False
    if "array" in kinds and not whole and "items" not in schema:
        return False
    parts += [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [*schema.get("prefixItems", ()), schema.get("items", False)]
    return all(map(is_closed, parts))
