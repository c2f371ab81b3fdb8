"""A schema as a document: the draft of each part, and what its references refer to.

Nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from logitlab.checks import ParameterError, Seen

__all__ = ["DEEPEST_SCHEMA", "MOST_PARTS", "Document", "Draft", "as_tree", "follow"]

DEEPEST_SCHEMA = 48
MOST_PARTS = 20_000  # schemas and values
_DEEPEST = 2 * DEEPEST_SCHEMA + 4  # a level is a schema in a map or array
_MOST_ENTRIES = 10 * MOST_PARTS  # keywords and annotations too

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


# Keywords with schemas inside, and those with schemas by keys: elsewhere nothing has an address.
_SCHEMAS = (
    *("additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "else", "if"),
    *("items", "not", "oneOf", "prefixItems", "propertyNames", "then", "unevaluatedItems"),
    "unevaluatedProperties",
)
_MAPS = (
    *("properties", "patternProperties", "$defs", "definitions", "dependencies"),
    "dependentSchemas",
)
_INDEX = re.compile("0|[1-9][0-9]{0,8}")
_LAST = Draft(9, stated=False)


class Document:
    """A schema with the addresses and anchors inside it.

    Examples
    --------
    >>> document = Document("schema", {"$defs": {"a/b": {"$anchor": "x", "minimum": 0}}})
    >>> document.target("schema", "#/$defs/a~1b", "") is document.target("schema", "#x", "")
    True
    """

    def __init__(self, name: str, root: Any) -> None:
        self._name = name
        self._resources: dict[str, Any] = {"": root}
        self._anchors: dict[tuple[str, str], Any] = {}
        self._contexts: dict[int, tuple[str, Draft]] = {}
        waiting: list[tuple[Any, str, Draft]] = [(root, "", _LAST)]
        while waiting:
            part, base, draft = waiting.pop()
            if isinstance(part, Mapping):
                if id(part) in self._contexts:
                    continue
                if part is root or isinstance(part.get("$schema"), str):
                    draft = draft_of(name if part is root else f"{name}'s part", part)
                base = self._named(part, base, draft)
                self._contexts[id(part)] = base, draft
                parts = [part.get(key) for key in _SCHEMAS]
                for key in _MAPS:
                    inside = part.get(key)
                    parts += inside.values() if isinstance(inside, Mapping) else []
                waiting.extend((one, base, draft) for one in reversed(parts))
            elif isinstance(part, Sequence) and not isinstance(part, str | bytes):
                waiting.extend((one, base, draft) for one in part if isinstance(one, Mapping))

    def _named(self, part: Mapping[Any, Any], base: str, draft: Draft) -> str:
        """Note the names of a part, and return the address that its references start from."""
        own = part.get(draft.identifier)
        if isinstance(own, str) and not (draft.ignores_siblings and "$ref" in part):
            name = self._name if part is self._resources[""] else f"{self._name}'s part"
            address, anchor = _joined(f"{name}.{draft.identifier}", base, own)
            if address != base:
                base = address
                self._resources.setdefault(base, part)
            if anchor:
                self._anchors.setdefault((base, anchor), part)
        for key in ("$anchor", "$dynamicAnchor"):
            if draft.knows(key) and isinstance(part.get(key), str):
                self._anchors.setdefault((base, part[key]), part)
        return base

    @property
    def is_one(self) -> bool:
        """Whether no part has an address but the whole."""
        return all(part is self._resources[""] for part in self._resources.values())

    def context(self, part: Any, around: tuple[str, Draft] = ("", _LAST)) -> tuple[str, Draft]:
        """Return the address that the references of a part start from, and its draft."""
        return self._contexts.get(id(part), around)

    def target(self, name: str, reference: str, base: str) -> Any:
        """Return the part that a reference means, or raise."""
        address, fragment = _joined(name, base, reference)
        if address not in self._resources:
            hint = "Nothing is fetched: refer into the schema itself."
            raise ParameterError(name, "a reference into the schema", reference, hint)
        part = self._resources[address]
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            if (address, fragment) not in self._anchors:
                hint = f"Anchor {fragment!r} does not exist."
                raise ParameterError(name, "a reference into the schema", reference, hint)
            return self._anchors[address, fragment]
        try:
            return follow(part, fragment)
        except LookupError:
            hint = f"Pointer {fragment!r} does not exist."
            raise ParameterError(name, "a reference into the schema", reference, hint) from None


def _joined(name: str, base: str, reference: str) -> tuple[str, str]:
    """Return the address and the fragment of a reference that starts from a base, or raise."""
    try:
        urlsplit(reference)  # which the others leave out where they can
        address, fragment = urldefrag(reference)
        return urljoin(base, address) if address else base, fragment
    except ValueError:
        raise ParameterError(name, "a valid URI reference", reference) from None


def follow(part: Any, pointer: str) -> Any:
    """Follow a JSON pointer from maps and lists into them.

    Raises
    ------
    LookupError
        Where it leads to nothing.

    References
    ----------
    RFC 6901, section 4: an index is of ASCII digits, without leading zeros.

    Examples
    --------
    >>> follow({"a/b": [1, 2]}, "/a~1b/1")
    2
    """
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list):
            part = part[int(key) if _INDEX.fullmatch(key) else len(part)]
        elif isinstance(part, Mapping):
            part = part[key]
        else:
            raise LookupError(pointer)
    return part


def as_tree(name: str, schema: Any) -> Any:
    """Return a copy of a schema, as dicts and lists of which no two places share one.

    A dict that stands in two places means something else in each, where their drafts and
    addresses differ.

    Raises
    ------
    ParameterError
        If it is too deep or too large, as one that contains itself is.

    Examples
    --------
    >>> part = {"type": "null"}
    >>> tree = as_tree("schema", {"anyOf": (part, part)})
    >>> tree, tree["anyOf"][0] is tree["anyOf"][1]
    ({'anyOf': [{'type': 'null'}, {'type': 'null'}]}, False)
    """
    left = _MOST_ENTRIES

    def counted(entries: Iterable[Any]) -> Iterator[Any]:
        nonlocal left
        for entry in entries:
            left -= 1
            if left < 0:
                rule = f"of at most {_MOST_ENTRIES} keywords and values"
                raise ParameterError(name, rule, Seen("more of them"))
            yield entry

    def copied(part: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ParameterError(
                name, f"at most {DEEPEST_SCHEMA} levels deep", Seen("a deeper one")
            )
        if isinstance(part, Mapping):
            return {key: copied(one, depth + 1) for key, one in counted(part.items())}
        if isinstance(part, Sequence) and not isinstance(part, str | bytes):
            return [copied(one, depth + 1) for one in counted(part)]
        return part

    return copied(schema, 0)
