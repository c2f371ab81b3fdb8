"""JSON schemas as they are compiled: alternatives without ``not``, ``if`` and ``oneOf``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.constraints.conditions import Conditions
from logitlab.constraints.controls import is_closed, spells_controls
from logitlab.constraints.counts import counts
from logitlab.constraints.endless import ends
from logitlab.constraints.finite import ATOMS, FREE, Context, Judge, atoms
from logitlab.constraints.formats import FORMATS, enforced
from logitlab.constraints.negation import Negation, OwnPattern
from logitlab.constraints.numbers import check_multiples, number_keywords
from logitlab.constraints.patterns import restated
from logitlab.constraints.reading import SchemaReader

__all__ = ["enforceable"]

_MOST_KEYS = 2_000  # of one object; what it takes grows with their square
_MOST_PATTERNS = 64  # of one object; their cube
_MOST_REWRITTEN = 30_000  # schemas that may come of one


def enforceable(
    name: str, schema: object, strict_formats: bool = False, notes: list[str] | None = None
) -> Any:
    """Return the schema that is compiled in place of one, or raise.

    Parameters
    ----------
    name : str
        What the schema is called in a message.
    schema : mapping or bool
        Of draft 4, 6, 7, 2019-09 or 2020-12, which is assumed where ``$schema`` is absent.
    strict_formats : bool
        Whether a format of texts that is none of `FORMATS` is refused, and not an annotation.
    notes : list of str, optional
        Is told which formats are annotations.

    Returns
    -------
    dict or bool
        The same texts by positive keywords alone, with patterns that every dialect agrees on.

    Raises
    ------
    ParameterError
        For the first place that is malformed or cannot be enforced.

    References
    ----------
    JSON Schema 2020-12, https://json-schema.org/draft/2020-12

    Examples
    --------
    >>> enforceable("schema", {"type": "string", "pattern": "^(?:a|b)$", "title": "A letter"})
    {'type': 'string', 'pattern': '^(?:a|b)$'}
    >>> enforceable("schema", {"items": {"uniqueItems": True}})
    Traceback (most recent call last):
    logitlab.checks.ParameterError: schema.items.uniqueItems must be absent: it cannot be enforced,
    got True. Set maxItems to 1, or name few values.
    """
    reader = SchemaReader(name, schema, strict_formats)
    definitions, places = reader.whole()
    result = _Rewriter(definitions, places, reader.sources).whole()
    if notes is not None:
        notes.extend(reader.notes)
    check_multiples(name, result)
    if spells_controls(result) and not is_closed(result):
        rule = "closed, with additionalProperties false, beside values with control characters"
        hint = r"These are spelled \uhhhh, and so could be the name of a listed key."
        raise ParameterError(name, rule, schema, hint)
    if result is False:
        raise ParameterError(name, "a schema of some value", schema, "No value is valid under it.")
    if not ends(result, name):
        hint = "It requires itself without end."
        raise ParameterError(name, "a schema of texts that can end", schema, hint)
    return result


class _Rewriter:
    """Write plain schemas with positive keywords alone.

    Parameters
    ----------
    definitions, places : dict
        The plain schemas by their references, and where they stand in the user's.
    sources : mapping of int
        What the user wrote, by the identity of the plain schema.

    Every rewriting keeps the set of valid values. Alternatives may overlap, which a grammar does
    not mind.
    """

    def __init__(
        self,
        definitions: dict[str, Any],
        places: Mapping[str, str],
        sources: Mapping[int, Any],
    ) -> None:
        self._definitions = definitions
        self._places = places
        self._judge = Judge(definitions)
        self._negation = Negation(definitions)
        self._conditions = Conditions(definitions, sources, self._negation)
        self._count = 0
        self._wanted: list[str] = []

    def whole(self) -> Any:
        """Return the root with all definitions that it needs."""
        while True:
            self._wanted = ["#"]
            written: dict[str, Any] = {}
            while self._wanted:
                label = self._wanted.pop()
                if label not in written:
                    place = self._places[label]
                    written[label] = self._schema(place, self._definitions[label], FREE)
            empty = [
                label
                for label, one in written.items()
                if one is False and self._definitions[label] is not False
            ]
            if not empty:  # else what refers to them is written anew
                break
            self._definitions |= dict.fromkeys(empty, False)
        root = written.pop("#")
        if isinstance(root, bool) or not written:
            return root
        named = {label.removeprefix("#/$defs/"): one for label, one in written.items()}
        return {**root, "$defs": named}

    def _schema(self, name: str, schema: Any, context: Context, of_one: bool = False) -> Any:
        """Rewrite a schema; ``of_one`` says that its alternatives are the members of a oneOf."""
        self._count += 1
        if self._count > _MOST_REWRITTEN:
            rule = f"such that at most {_MOST_REWRITTEN} schemas say the same without not and oneOf"
            raise ParameterError(self._places["#"], rule, Seen("more of them"))
        if isinstance(schema, bool) or not schema:
            return schema
        if self._definitions.get(schema.get("$ref", "")) is False:
            return False
        finite = self._finite(schema)
        if finite is not None:
            return finite
        context = self._negation.within(context, schema)
        result, more = self._plain(name, schema)
        # Conditions of the whole value come after the keys, whose order is that of the text.
        for key in ("$ref", "const", "enum"):
            if key in schema:
                result[key] = schema[key]
                if key == "$ref":
                    self._wanted.append(schema[key])
        for key in ("allOf", "anyOf"):
            if key in schema:
                place = name if of_one and key == "anyOf" else f"{name}.{key}"
                result[key] = [
                    self._schema(f"{place}[{i}]", one, context) for i, one in enumerate(schema[key])
                ]
        for key, condition in [*self._conditions.of(name, schema, context), *more]:
            if condition is not True:
                place, of_one = f"{name}.{key}", key == "oneOf"
                written = self._schema(place, condition, context, of_one)
                result.setdefault("allOf", []).append(written)
        together = [result, *(one for one in result.get("allOf", ()) if isinstance(one, dict))]
        _check_patterns(name, sum(len(one.get("patternProperties", ())) for one in together))
        if "format" in schema and "string" in context.atoms:
            self._format(name, schema["format"], result)
        return _simpler(result)

    def _format(self, name: str, kind: str, result: dict[str, Any]) -> None:
        """Add the pattern of a format, which is written for the compiler already."""
        if kind in FORMATS:
            form = enforced(kind)
            if result.keys().isdisjoint(form):
                result |= form
            else:
                result.setdefault("allOf", []).append(form)
        else:
            rule = f"one of {', '.join(FORMATS)}: no other is enforced"
            raise ParameterError(f"{name}.format", rule, kind)

    def _finite(self, schema: Mapping[str, Any]) -> Any:
        """Return the values of a schema that names its values, if each can be judged."""
        if ("const" not in schema and "enum" not in schema) or len(schema) == 1:
            return None
        key = "const" if "const" in schema else "enum"
        values = [schema["const"]] if key == "const" else schema["enum"]
        others = {other: asked for other, asked in schema.items() if other != key}
        verdicts = [self._judge.admits(others, value) for value in values]
        if None in verdicts:
            return None
        left = [value for value, good in zip(values, verdicts, strict=True) if good]
        if not left:
            return False
        return {"const": left[0]} if key == "const" else {"enum": left}

    def _plain(self, name: str, schema: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """Return the keywords that stay, of the types that there are, and new conditions."""
        result: dict[str, Any] = {}
        types = atoms(schema["type"]) if "type" in schema else ATOMS
        if "type" in schema:
            result["type"] = schema["type"]
        more: list[tuple[str, Any]] = []
        if "string" in types:
            if "pattern" in schema:
                pattern = schema["pattern"]
                if not isinstance(pattern, OwnPattern):
                    pattern = restated(f"{name}.pattern", pattern)
                result["pattern"] = pattern
            for key in ("minLength", "maxLength"):
                if key in schema:
                    result[key] = schema[key]
        if types & {"integer", "fraction"}:
            numbers, far = number_keywords(schema, types)
            result |= numbers
            more += far
        if "array" in types:
            for key in ("minItems", "maxItems"):
                if key in schema:
                    result[key] = schema[key]
            if "prefixItems" in schema:
                result["prefixItems"] = [
                    self._schema(f"{name}.prefixItems[{i}]", one, FREE)
                    for i, one in enumerate(schema["prefixItems"])
                ]
            if "items" in schema:
                result["items"] = self._schema(f"{name}.items", schema["items"], FREE)
        if "object" in types:
            result |= self._object(name, schema)
            more += counts(name, schema, result)
        return result, more

    def _object(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if "properties" in schema:
            if len(schema["properties"]) > _MOST_KEYS:
                rule, count = f"a map of at most {_MOST_KEYS} keys", len(schema["properties"])
                raise ParameterError(f"{name}.properties", rule, Seen(f"{count}"))
            result["properties"] = {
                key: self._schema(f"{name}.properties.{key}", one, FREE)
                for key, one in schema["properties"].items()
            }
        if "patternProperties" in schema:
            patterns: dict[str, Any] = {}
            for key, one in schema["patternProperties"].items():
                here = f"{name}.patternProperties.{key}"
                pattern = restated(f"{name}.patternProperties's key", key)
                read = self._schema(here, one, FREE)
                patterns[pattern] = (
                    {"allOf": [patterns[pattern], read]} if pattern in patterns else read
                )
            if "additionalProperties" not in schema:  # else they keep keys from that
                patterns = {key: one for key, one in patterns.items() if one not in (True, {})}
            _check_patterns(name, len(patterns))
            alike: dict[str, list[str]] = {}
            for pattern, one in patterns.items():
                alike.setdefault(json.dumps(one), []).append(pattern)
            result["patternProperties"] = {
                some[0] if len(some) == 1 else "|".join(f"(?:{one})" for one in some): patterns[
                    some[0]
                ]
                for some in alike.values()
            }
        if "additionalProperties" in schema:
            here = f"{name}.additionalProperties"
            result["additionalProperties"] = self._schema(
                here, schema["additionalProperties"], FREE
            )
        if schema.get("required"):
            result["required"] = schema["required"]
        return result


def _check_patterns(name: str, count: int) -> None:
    if count > _MOST_PATTERNS:
        rule = f"at most {_MOST_PATTERNS} patterns for the keys of an object"
        raise ParameterError(f"{name}.patternProperties", rule, Seen(f"{count} of them"))


def _simpler(schema: dict[str, Any]) -> Any:
    """Return a schema without conditions that say nothing."""
    for key, idle in (("allOf", True), ("anyOf", False)):
        if key in schema:
            parts = [True if one == {} else one for one in schema[key]]
            del schema[key]
            if (not idle) in parts:
                if key == "allOf":
                    return False
                continue
            parts = [one for one in parts if one is not idle]
            if not parts and key == "anyOf":
                return False
            if parts:
                schema[key] = parts
    if len(schema) == 1:
        parts = schema.get("allOf", schema.get("anyOf", ()))
        return parts[0] if len(parts) == 1 else schema
    return schema
