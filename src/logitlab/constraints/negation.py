"""The opposite of a schema: a plain schema of all values that it does not admit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from logitlab.constraints.finite import ATOMS, FREE, TYPE_OF, Context, atom_of, atoms, identity

__all__ = ["Negation", "OwnPattern", "UnsayableError"]

_ORDER = ("null", "boolean", "integer", "fraction", "string", "array", "object")
_DEEPEST = 24
_MOST_STEPS = 5_000
_MOST_STEPS_OF_ALL = 100_000
_MOST_NUMBERS = 64
_STRAIGHT = 60  # steps that nest: regex-syntax, in Rust, has groups of at most 83 or so
_MOST_BYTES = 20_000  # of texts that are left out; compiling them takes seconds


class UnsayableError(Exception):
    """What has no opposite in the words of a schema."""


class OwnPattern(str):
    """A pattern that is written for the compiler already."""

    __slots__ = ()


class Negation:
    """Opposites of plain schemas.

    Examples
    --------
    >>> Negation({}).of({"type": "object", "required": ["a"]}, Context(frozenset(["object"])))
    {'type': 'object', 'properties': {'a': False}}
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._known: dict[str, Context] = {}
        self._references = 0
        self._steps = 0
        self._left = _MOST_STEPS_OF_ALL

    def within(self, context: Context, schema: Any) -> Context:
        """Return what is known of a value if a schema holds as well."""
        if not isinstance(schema, Mapping):
            return context
        kinds = ATOMS
        if "type" in schema:
            kinds &= atoms(schema["type"])
        if "const" in schema:
            kinds &= {atom_of(schema["const"])}
        if "enum" in schema:
            kinds &= set(map(atom_of, schema["enum"]))
        closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        keys = frozenset(schema.get("properties", ())) if closed else None
        result = context.both(Context(kinds, keys))
        for part in schema.get("allOf", ()):
            result = self.within(result, part)
        if "$ref" in schema:
            result = result.both(self._referred(schema["$ref"]))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                some = [self.within(FREE, part).atoms for part in schema[key]]
                result = result.both(Context(frozenset().union(*some)))
        return result

    def _referred(self, label: str) -> Context:
        if label not in self._known:
            if self._references > _DEEPEST:
                return FREE
            self._references += 1
            self._known[label] = FREE  # of a schema that refers to itself
            self._known[label] = self.within(FREE, self._definitions[label])
            self._references -= 1
        return self._known[label]

    def of(self, schema: Any, context: Context) -> Any:
        """Return the opposite among the values that a context leaves, or raise."""
        self._steps = min(_MOST_STEPS, self._left)
        self._left -= self._steps
        try:
            return self._of(schema, context, 0)
        finally:
            self._left += max(self._steps, 0)

    def _of(self, schema: Any, context: Context, depth: int) -> Any:
        if isinstance(schema, bool):
            return not schema
        self._steps -= 1
        if depth > _DEEPEST or self._steps < 0:
            raise UnsayableError("a schema that is nested deeper or refers to itself")
        choices = []
        for key, asked in schema.items():
            one = self._keyword(key, asked, schema, context, depth)
            if one is True:
                return True
            if one is not False:
                choices.append(one)
        if not choices:
            return False
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _keyword(
        self, key: str, asked: Any, schema: Mapping[str, Any], context: Context, depth: int
    ) -> Any:
        def opposite(part: Any) -> Any:
            return self._of(part, context, depth + 1)

        if key == "type":
            return _of_types(context.atoms - atoms(asked))
        if key in ("const", "enum"):
            return _other_values([asked] if key == "const" else asked, context)
        if key == "not":
            return asked
        if key == "$ref":
            return opposite(self._definitions[asked])
        if key == "allOf":
            return _any(opposite(part) for part in asked)
        if key == "anyOf":
            return {"allOf": [opposite(part) for part in asked]}
        if key == "oneOf":
            pairs = [
                {"allOf": [one, other]} for i, one in enumerate(asked) for other in asked[i + 1 :]
            ]
            if len(pairs) > 28:
                raise UnsayableError("a oneOf of more than 8 members")
            return _any([{"allOf": [opposite(part) for part in asked]}, *pairs])
        if key == "if":
            then, other = schema.get("then", True), schema.get("else", True)
            choices = []
            if then is not True:
                choices.append({"allOf": [asked, opposite(then)]})
            if other is not True:
                choices.append({"allOf": [opposite(asked), opposite(other)]})
            return _any(choices)
        if key in ("then", "else"):
            return False
        return _typed(key, asked, schema, context, self, depth)


def _typed(
    key: str,
    asked: Any,
    schema: Mapping[str, Any],
    context: Context,
    negation: Negation,
    depth: int,
) -> Any:
    """Return the opposite of a keyword that is about values of one type."""
    kind = TYPE_OF.get(key)
    if kind is None:
        raise UnsayableError(key)
    if not context.atoms & atoms(kind):
        return False
    if key in _OTHER_ENDS:
        number = "number" if "fraction" in context.atoms else "integer"
        return {"type": number, _OTHER_ENDS[key]: asked}
    if key in _LESS:
        return {"type": kind, _LESS[key]: asked - 1} if asked > 0 else False
    if key in _MORE:
        return {"type": kind, _MORE[key]: asked + 1}

    def here(part: Any) -> Any:
        return negation._of(part, context, depth + 1)

    def opposite(part: Any) -> Any:
        return negation._of(part, FREE, depth + 1)

    def absent(name: str) -> bool:
        return context.keys is not None and name not in context.keys

    if key == "required":
        return _any(_object({name: False}) for name in asked)
    if key == "properties":
        return _any(
            _object({name: opposite(part)}, name)
            for name, part in asked.items()
            if not absent(name)
        )
    if key == "additionalProperties":
        if asked is True or asked == {}:
            return False
        if context.keys is None or schema.get("patternProperties"):
            raise UnsayableError("additionalProperties where the object is open")
        others = sorted(context.keys - schema.get("properties", {}).keys())
        return _any(_object({name: opposite(asked)}, name) for name in others)
    if key == "dependentRequired":
        return _any(
            {"type": "object", "required": [name], "properties": {other: False}}
            for name, others in asked.items()
            for other in others
        )
    if key == "dependentSchemas":
        return _any(
            {
                "allOf": [
                    {"type": "object", "required": [name]},
                    negation._of(part, context, depth + 1),
                ]
            }
            for name, part in asked.items()
        )
    if key == "prefixItems":
        return _any(_item(place, opposite(part)) for place, part in enumerate(asked))
    if key == "items":
        if asked is True or asked == {}:
            return False
        before = len(schema.get("prefixItems", ()))
        if asked is False:
            return {"type": "array", "minItems": before + 1}
        most = schema.get("maxItems", 99)
        if most > 8:
            raise UnsayableError("items of an array of more than 8")
        return _any(_item(place, opposite(asked)) for place in range(before, most))
    if key == "contains" and schema.keys().isdisjoint(["minContains", "maxContains"]):
        return {"type": "array", "items": opposite(asked)}
    if key == "uniqueItems" and not asked:
        return False
    raise UnsayableError(key)


_OTHER_ENDS = {
    "minimum": "exclusiveMaximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}
_LESS = {"minLength": "maxLength", "minItems": "maxItems", "minProperties": "maxProperties"}
_MORE = {more: less for less, more in _LESS.items()}


def _any(choices: Any) -> Any:
    some = [one for one in choices if one is not False]
    if any(one is True for one in some):
        return True
    if not some:
        return False
    return some[0] if len(some) == 1 else {"anyOf": some}


def _object(properties: dict[str, Any], *required: str) -> Any:
    if required and properties[required[0]] is False:
        return False
    more = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **more}


def _item(place: int, schema: Any) -> Any:
    if schema is False:
        return False
    return {"type": "array", "prefixItems": [*[True] * place, schema], "minItems": place + 1}


def _of_types(kinds: frozenset[str]) -> Any:
    """Return a schema of all values of some types."""
    if not kinds:
        return False
    if "fraction" in kinds and "integer" not in kinds:
        raise UnsayableError("integer among numbers")
    names = [kind for kind in _ORDER if kind in kinds]
    if "fraction" in names:
        names.remove("fraction")
        names[names.index("integer")] = "number"
    return {"type": names[0] if len(names) == 1 else names}


def _other_values(values: list[Any], context: Context) -> Any:
    """Return a schema of all values but some."""
    own = {kind: [one for one in values if atom_of(one) == kind] for kind in _ORDER}
    kinds = context.atoms
    for kind in ("array", "object"):
        if own[kind] and kind in kinds:
            raise UnsayableError(f"a value that is an {kind}")
    numbers = sorted({one for kind in ("integer", "fraction") for one in own[kind]})
    if kinds.isdisjoint(["integer", "fraction"]):
        numbers = []
    if len(numbers) > _MOST_NUMBERS:
        raise UnsayableError(f"more than {_MOST_NUMBERS} numbers")
    whole = {kind for kind in kinds if not own[kind]}
    if numbers:
        whole -= {"integer", "fraction"}
    whole -= {"null"} if own["null"] else set()
    choices = [] if not whole else [_of_types(frozenset(whole))]
    booleans = {identity(one) for one in own["boolean"]}
    if "boolean" in kinds and len(booleans) == 1:
        choices.append({"const": not own["boolean"][0]})
    if numbers:
        number = {"type": "number" if "fraction" in kinds else "integer"}
        choices.append({**number, "exclusiveMaximum": numbers[0]})
        for low, high in itertools.pairwise(numbers):
            choices.append({**number, "exclusiveMinimum": low, "exclusiveMaximum": high})
        choices.append({**number, "exclusiveMinimum": numbers[-1]})
    if "string" in kinds and own["string"]:
        texts = sorted(set(own["string"]))
        if sum(len(text.encode()) for text in texts) > _MOST_BYTES:
            raise UnsayableError(f"texts of more than {_MOST_BYTES} bytes together")
        choices.append({"type": "string", "pattern": OwnPattern(f"^(?:{_no_text_of(texts)})$")})
    return _any(choices)


def _no_text_of(texts: list[str], straight: int = _STRAIGHT) -> str:
    r"""Return a pattern, in Rust's syntax, of all texts but some.

    Examples
    --------
    >>> import re
    >>> pattern = _no_text_of(["ab", "a"])
    >>> [text for text in ("", "a", "ab", "abc", "b") if re.fullmatch(pattern, text)]
    ['', 'abc', 'b']
    """
    steps: list[tuple[str, str]] = []  # what leaves the longest way at a place, and how it goes on
    for at in itertools.count():
        following: dict[str, list[str]] = {}
        for text in texts:
            if len(text) > at:
                following.setdefault(text[at], []).append(text)
        ends = [""] if all(len(text) > at for text in texts) else []
        if not following:  # only the whole text is left out
            return _way([*steps, ("[^\\x00]+", "")], straight)
        spelled = {sign: _escaped(sign) for sign in sorted(following)}
        most = max(spelled, key=lambda sign: len(following[sign]))
        others = []
        for sign in spelled:
            if sign == most:
                continue
            rests = [text[at + 1 :] for text in following[sign]]
            others.append(f"{spelled[sign]}(?:{_no_text_of(rests, straight // 10 or 1)})")
        # JSON texts have no use for U+0000, which patterns of users never match either.
        leaves = f"[^{''.join(spelled.values())}\\x00][^\\x00]*"
        steps.append(("|".join([*ends, leaves, *others]), spelled[most]))
        texts = following[most]
    raise AssertionError("every text ends")


def _way(steps: list[tuple[str, str]], straight: int) -> str:
    """Return a pattern of all that leaves a way.

    Parts of some length nest step by step, which is the easiest to follow beside others of the
    kind; and the groups of longer ones are only as deep as the logarithm of their number.
    """
    if len(steps) > straight:
        half = len(steps) // 2
        start = "".join(sign for _, sign in steps[:half])
        return f"{_way(steps[:half], straight)}|{start}(?:{_way(steps[half:], straight)})"
    opening = "".join(f"{leaves}|{sign}(?:" for leaves, sign in steps[:-1])
    return opening + steps[-1][0] + ")" * (len(steps) - 1)


def _escaped(sign: str) -> str:
    code = ord(sign)
    if sign.isascii() and not sign.isalnum():
        return f"\\x{code:02x}"
    return sign
