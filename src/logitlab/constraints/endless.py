"""Whether a schema has a value at all that ends: no object that requires itself for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, Seen

__all__ = ["ends"]

_MOST = 256  # different references


def ends(schema: Any) -> bool:
    """Say whether some value of a checked schema is finite.

    A schema is taken as finite until what it requires says otherwise; a reference that is no
    pointer into the schema itself counts as finite.

    Examples
    --------
    >>> node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    >>> ends(node), ends({**node, "required": ["next"]})
    (True, False)
    """
    pointers = sorted(one for one in _references(schema) if one == "#" or one.startswith("#/"))
    if len(pointers) > _MOST:
        rule = f"of at most {_MOST} different $ref"
        raise ParameterError("schema", rule, Seen(f"{len(pointers)} of them"))
    targets = {one: _target(schema, one) for one in pointers}
    # The least fixed point: at first no reference ends, and in each round more may.
    finite: set[str] = set()
    more = True
    while more:
        before = len(finite)
        for one in targets.keys() - finite:
            if _finite(targets[one], finite, targets):
                finite.add(one)
        more = len(finite) > before
    return _finite(schema, finite, targets)


def _finite(schema: Any, known: set[str], targets: Mapping[str, Any]) -> bool:
    if not isinstance(schema, Mapping):
        return True
    reference = schema.get("$ref")
    if reference in targets and reference not in known:
        return False
    every = list(schema.get("allOf", ()))
    if not all(_finite(one, known, targets) for one in every):
        return False
    for key in ("anyOf", "oneOf"):
        if key in schema and not any(_finite(one, known, targets) for one in schema[key]):
            return False
    if "const" in schema or "enum" in schema:
        return True
    kinds = schema.get("type", "null")
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "object":
            good = all(_finite(_property(schema, key), known, targets) for key in _required(schema))
        elif kind == "array":
            good = all(_finite(one, known, targets) for one in _first(schema))
        else:
            good = True
        if good:
            return True
    return False


def _required(schema: Mapping[str, Any]) -> list[str]:
    return list(schema.get("required", ()))


def _property(schema: Mapping[str, Any], key: str) -> Any:
    others = True if "patternProperties" in schema else schema.get("additionalProperties", True)
    return schema.get("properties", {}).get(key, others)


def _first(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of the items that an array cannot do without."""
    items = schema.get("items", True)
    before = schema.get("prefixItems", ())
    if isinstance(items, list):
        before, items = items, schema.get("additionalItems", True)
    least = schema.get("minItems", 0)
    return [*before[:least], *([items] if least > len(before) else [])]


def _references(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(one) for one in value))
    return set()


def _target(schema: Any, pointer: str) -> Any:
    """Follow a JSON pointer; what is not there is left to the compiler to refuse."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, Mapping) and key in schema:
            schema = schema[key]
        elif isinstance(schema, list) and key.isdigit() and int(key) < len(schema):
            schema = schema[int(key)]
        else:
            return True
    return schema
