"""What a reference inside a schema refers to. Nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from logitlab.checks import ParameterError
from logitlab.constraints.drafts import Draft, draft_of

__all__ = ["Document"]

_VALUES = frozenset(["const", "enum", "default", "examples", "example"])
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
                parts = [one for key, one in part.items() if key not in _VALUES]
                waiting.extend((one, base, draft) for one in parts)
            elif isinstance(part, Sequence) and not isinstance(part, str | bytes):
                waiting.extend((one, base, draft) for one in part if isinstance(one, Mapping))

    def _named(self, part: Mapping[Any, Any], base: str, draft: Draft) -> str:
        """Note the names of a part, and return the address that its references start from."""
        own = part.get(draft.identifier)
        if isinstance(own, str) and not (draft.ignores_siblings and "$ref" in part):
            address, anchor = urldefrag(own)
            if address:
                base = urljoin(base, address)
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

    def context(self, part: Any) -> tuple[str, Draft]:
        """Return the address that the references of a part start from, and its draft."""
        return self._contexts.get(id(part), ("", _LAST))

    def target(self, name: str, reference: str, base: str) -> Any:
        """Return the part that a reference means, or raise."""
        address, fragment = urldefrag(reference)
        address = urljoin(base, address) if address else base
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
        for step in fragment.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(part, Mapping) and key in part:
                part = part[key]
            elif isinstance(part, list | tuple) and key.isdecimal() and int(key) < len(part):
                part = part[int(key)]
            else:
                hint = f"Pointer {fragment!r} does not exist."
                raise ParameterError(name, "a reference into the schema", reference, hint)
        return part
