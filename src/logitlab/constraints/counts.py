"""How many keys an object may have, said by which ones it has."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError
from logitlab.constraints.finite import for_type

__all__ = ["MOST_ALTERNATIVES", "counts"]

MOST_ALTERNATIVES = 512  # of one keyword


def counts(name: str, schema: Mapping[str, Any], result: dict[str, Any]) -> list[tuple[str, Any]]:
    """Say how many keys there may be by which ones there are, where llguidance cannot."""
    least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
    required = list(dict.fromkeys(schema.get("required", ())))
    optional = [
        key
        for key, one in schema.get("properties", {}).items()
        if key not in required and one is not False
    ]
    closed = result.get("additionalProperties") is False
    closed = closed and not result.get("patternProperties")
    if closed and most >= len(required) + len(optional):
        most = math.inf
    if least <= len(required):
        least = 0
    if not closed and least > len(required) + 1:
        hint = "A key that is not listed could come twice; close the object."
        rule = "at most one more than the required keys of an open object"
        raise ParameterError(f"{name}.minProperties", rule, least, hint)
    if least == 0 and most == math.inf:
        return []
    limits: dict[str, Any] = {"minProperties": least} if least else {}
    if most < math.inf:
        limits["maxProperties"] = most
    if not optional:
        result |= limits
        return []
    if most == math.inf:
        # Either enough of the optional keys, or none of them and keys of other names.
        wanted = least - len(required)
        several = math.comb(len(optional), wanted)
        few = optional if several <= MOST_ALTERNATIVES else ()
        some = itertools.combinations(few, wanted)
        choices: list[Any] = [{"required": list(keys)} for keys in some]
        if not closed:
            choices.append({"properties": dict.fromkeys(optional, False), **limits})
    else:
        spare = max(0, min(len(optional), int(most) - len(required)))
        least_spare = max(0, least - len(required)) if closed else 0
        sizes = range(least_spare, spare + 1)
        several = sum(math.comb(len(optional), size) for size in sizes)
        if several > MOST_ALTERNATIVES:
            choices = []
        else:
            choices = [
                {
                    "required": [*required, *keys],
                    "properties": dict.fromkeys([k for k in optional if k not in keys], False),
                    **({} if closed else limits),
                }
                for size in sizes
                for keys in itertools.combinations(optional, size)
            ]
    key = "minProperties" if most == math.inf else "maxProperties"
    if several > MOST_ALTERNATIVES:
        rule = f"of at most {MOST_ALTERNATIVES} choices among the optional keys"
        raise ParameterError(f"{name}.{key}", rule, schema[key])
    if len(required) > most:
        return [(key, {"not": {"type": "object"}})]
    return [(key, for_type("object", schema, {"anyOf": choices}))]
