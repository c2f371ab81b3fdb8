"""Whether a schema has a value at all that ends: no object that requires itself for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.constraints.document import follow

__all__ = ["ends"]

_MOST_REFERENCES = 256


def ends(schema: Any, name: str = "schema") -> bool:
    """Say whether some value of a rewritten schema, called so in a message, is finite.

    A schema is taken as finite until what it requires says otherwise.

    Examples
    --------
    >>> node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    >>> ends(node), ends({**node, "required": ["next"]})
    (True, False)
    """
    pointers = _references(schema)
    if len(pointers) > _MOST_REFERENCES:
        rule = f"of at most {_MOST_REFERENCES} different $ref"
        raise ParameterError(name, rule, Seen(f"{len(pointers)} of them"))
    # The least fixed point: at first no reference ends, and in each round more may.
    endless = {one: follow(schema, one) for one in pointers}
    while more := [one for one, target in endless.items() if _is_finite(target, endless)]:
        for one in more:
            del endless[one]
    return _is_finite(schema, endless)


def _is_finite(schema: Any, endless: Mapping[str, Any]) -> bool:
    """Say whether a schema has a value that ends if these references have none."""
    if not isinstance(schema, Mapping):
        return True
    if schema.get("$ref") in endless:
        return False

    def every(schemas: Sequence[Any]) -> bool:
        return all(_is_finite(one, endless) for one in schemas)

    some = any(_is_finite(one, endless) for one in schema.get("anyOf", (True,)))
    if not some or not every(schema.get("allOf", ())):
        return False
    if "const" in schema or "enum" in schema:
        return True
    kinds = schema.get("type", "null")
    return any(every(_parts(schema, kind)) for kind in ([kinds] if type(kinds) is str else kinds))


def _parts(schema: Mapping[str, Any], kind: str) -> Sequence[Any]:
    """Return the schemas of what a value of this type cannot do without."""
    if kind == "object":
        others = "patternProperties" in schema or schema.get("additionalProperties", True)
        known = schema.get("properties", {})
        return [known.get(key, others) for key in schema.get("required", ())]
    if kind == "array":
        items = schema.get("items", True)
        before = schema.get("prefixItems", ())
        least = schema.get("minItems", 0)
        return [*before[:least], *([items] if least > len(before) else [])]
    return ()


def _references(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()
