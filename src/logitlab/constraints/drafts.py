"""Drafts of JSON Schema: which one a schema is of, and which keywords that draft knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from logitlab.checks import ParameterError

__all__ = ["Draft", "draft_of"]

_ADDRESS = re.compile(
    r"(?:https?:)?//json-schema\.org/(?:draft-0?([467])|draft/(2019-09|2020-12)|())"
    r"/?(?:hyper-)?schema/?#?/?"
)
_NUMBERS = {"4": 4, "6": 6, "7": 7, "2019-09": 8, "2020-12": 9}

# The first draft that knows a keyword, where that is not the fourth.
_SINCE = {
    **dict.fromkeys(["$id", "const", "contains", "propertyNames", "examples"], 6),
    **dict.fromkeys(["if", "then", "else"], 7),
    **dict.fromkeys(["$anchor", "$recursiveRef", "dependentRequired", "dependentSchemas"], 8),
    **dict.fromkeys(["minContains", "maxContains"], 8),
    **dict.fromkeys(["unevaluatedItems", "unevaluatedProperties"], 8),
    **dict.fromkeys(["prefixItems", "$dynamicRef", "$dynamicAnchor"], 9),
}


@dataclass(frozen=True)
class Draft:
    """A draft by its number: 4, 6, 7, 8 (2019-09) or 9 (2020-12).

    Where a schema does not say its draft it is the last one, and what older drafts spell another
    way is read as they mean it: a list of ``items``, a boolean ``exclusiveMinimum``.

    Examples
    --------
    >>> Draft(7).knows("if"), Draft(4).knows("if"), Draft(7).ignores_siblings
    (True, False, True)
    """

    number: int
    stated: bool = True

    def knows(self, keyword: str) -> bool:
        """Say whether a keyword means something."""
        return _SINCE.get(keyword, 4) <= self.number

    @property
    def ignores_siblings(self) -> bool:
        """Whether ``$ref`` makes everything beside it void."""
        return self.number < 8

    @property
    def has_tuples_in_items(self) -> bool:
        """Whether ``items`` may be a list of schemas."""
        return self.number < 9 or not self.stated

    @property
    def has_boolean_ends(self) -> bool:
        """Whether ``exclusiveMinimum`` may say of ``minimum`` that it is left out."""
        return self.number == 4 or not self.stated

    @property
    def identifier(self) -> str:
        """The keyword that gives a schema its address."""
        return "id" if self.number == 4 else "$id"


def draft_of(name: str, schema: Any) -> Draft:
    """Return the draft that a schema says it is of.

    Examples
    --------
    >>> draft_of("schema", {"$schema": "http://json-schema.org/draft-07/schema#"})
    Draft(number=7, stated=True)
    >>> draft_of("schema", {})
    Draft(number=9, stated=False)
    """
    address = schema.get("$schema")
    if address is None:
        return Draft(9, stated=False)
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if match is None:
        raise ParameterError(f"{name}.$schema", "draft 4, 6, 7, 2019-09 or 2020-12", address)
    number = _NUMBERS.get(match[1] or match[2] or "")
    return Draft(9, stated=False) if number is None else Draft(number)
