"""Constraints of a whole text: JSON, one of several texts, or a regular expression."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from logitlab.checks import ParameterError, brief, check_flag
from logitlab.constraints.constraint import Constraint
from logitlab.constraints.controls import SURROGATE, spells_controls
from logitlab.constraints.patterns import character, restated
from logitlab.constraints.schema import enforceable
from logitlab.vocabulary import Vocabulary

__all__ = ["Choice", "JsonObject", "JsonSchema", "Regex", "rule_of"]

# Compact texts: where space may stand, a model can go on with it for ever. Without \uhhhh no key
# has two spellings, so none escapes the schema of its name; it is for values that need it, in
# schemas where no key is free.
_SPELLING = {"whitespace_flexible": False, "json_allowed_escapes": 'nrbtf\\"'}
_SPELLING_OF_CONTROLS = {**_SPELLING, "json_allowed_escapes": 'nrbtf\\"u'}


def rule_of(schema: str) -> str:
    """Return the right side of a rule whose texts are those of a checked schema."""
    value = json.loads(schema)
    if isinstance(value, bool):
        value = {} if value else {"enum": []}
    spelling = _SPELLING_OF_CONTROLS if spells_controls(value) else _SPELLING
    return "%json " + json.dumps({**value, "x-guidance": spelling})


@dataclass(frozen=True, init=False, repr=False)
class JsonSchema(Constraint):
    """JSON texts that are valid under a schema.

    A text is compact, its listed keys come in the order of the schema, and others after them.
    Every text that ends is valid; where a text can be of any length it may also be cut off by
    ``max_tokens``, and is then the beginning of a valid one.

    Parameters
    ----------
    schema : mapping or bool
        Of JSON Schema draft 2020-12, or of draft 4, 6, 7 or 2019-09 if its ``$schema`` says so.
    strict_formats : bool
        Whether a ``format`` of texts that is not enforced is an error. By default it is an
        annotation, as the specification has it, and `notes` tells of it.

    Raises
    ------
    ParameterError
        For a schema that is malformed, has no valid text, or uses what cannot be enforced: a
        ``$ref`` to elsewhere, patterns with look-around or references, ``uniqueItems`` and
        ``contains`` of long arrays, ``not``, ``if`` and overlapping ``oneOf`` of what has no
        opposite (patterns, open objects).

    Notes
    -----
    ``format`` on anything but texts, ``default``, ``title``, ``contentEncoding`` and unknown
    keywords are annotations. A text of a format is one for validators, too, which narrows some: no
    second is 60, durations have numbers of at most 5 to 9 digits, domains are of ASCII without
    Punycode, regular expressions have groups one deep and no ``{m,n}``, e-mail addresses an
    ordinary domain and at most 32 letters before the @. ``multipleOf`` is decimal: 1.15 is a
    multiple of 0.01, whatever a division of floats says. Bounds beyond 2**53, of more than 15
    digits or of more than 30 places are rounded inwards, an open end of fractions is closed one
    such digit inside (``exclusiveMinimum`` 1 begins at 1.00000000000001), and ``dependencies``
    means the same in each draft.

    References
    ----------
    JSON Schema 2020-12, https://json-schema.org/draft/2020-12

    Examples
    --------
    >>> JsonSchema({"type": "object", "required": ["age"], "properties": {"age": {"minimum": 0}}})
    JsonSchema({'type': 'object', 'required': ['age'], 'properties': {'age': {'minimum': 0}}})
    >>> JsonSchema({"type": "array", "uniqueItems": True})
    Traceback (most recent call last):
    logitlab.checks.ParameterError: schema.uniqueItems must be absent: it cannot be enforced,
    got True. Set maxItems to 1, or name few values.
    """

    text: str
    name: str = field(compare=False)
    notes: tuple[str, ...] = field(compare=False)
    source: str = field(compare=False)

    def __init__(
        self,
        schema: Mapping[str, Any] | bool,
        *,
        name: str = "schema",
        strict_formats: bool = False,
    ) -> None:
        check_flag("strict_formats", strict_formats)
        notes: list[str] = []
        text = json.dumps(enforceable(name, schema, strict_formats, notes))
        vars(self).update(text=text, name=name, notes=tuple(notes), source=brief(schema))
        self.check()

    def grammar(self, vocabulary: Vocabulary | None) -> str:
        """Return the grammar: one rule, compiled from the schema."""
        return f"start: {rule_of(self.text)}\n"

    def __repr__(self) -> str:
        return f"JsonSchema({self.source})"


@dataclass(frozen=True)
class JsonObject(Constraint):
    """JSON objects of any content, compact.

    Such a text can always grow, so a lively model is often cut off by ``max_tokens``.

    Examples
    --------
    >>> vocabulary = Vocabulary([b"<end>", b"{", b"}", b"[", b'{"'], special=[0])
    >>> JsonObject().start(vocabulary, [0]).allowed()
    array([False,  True, False, False,  True])
    """

    text = '{"type": "object"}'

    def grammar(self, vocabulary: Vocabulary | None) -> str:
        """Return the grammar: the schema of an object."""
        return f"start: {rule_of(self.text)}\n"


@dataclass(frozen=True)
class Regex(Constraint):
    r"""Texts that match a regular expression from their beginning to their end.

    Parameters
    ----------
    pattern : str
        In the part of the syntax on which ECMA 262, Python and Rust agree: ``\d``, ``\w`` and
        ``\s`` are those of ECMA 262, ``.`` is no line end, ``^`` and ``$`` add nothing.

    Raises
    ------
    ParameterError
        For look-around, backreferences, word boundaries, flags, or a pattern that is none.

    Examples
    --------
    >>> Regex(r"\d{4}-\d{2}")
    Regex(pattern='\\d{4}-\\d{2}')
    >>> Regex("(a")
    Traceback (most recent call last):
    logitlab.checks.ParameterError: pattern must be a regular expression, got '(a'. An opening
    parenthesis has a closing one: not at character 2.
    """

    pattern: str
    name = "pattern"

    def __post_init__(self) -> None:
        restated("pattern", self.pattern)
        self.check()

    def grammar(self, vocabulary: Vocabulary | None) -> str:
        """Return a grammar whose one rule is the pattern."""
        return f"start: /{restated('pattern', self.pattern)}/\n"


@dataclass(frozen=True, init=False)
class Choice(Constraint):
    """One of several texts.

    Parameters
    ----------
    options : iterable of str
        Different texts that are not empty.

    Raises
    ------
    ParameterError
        For no option, an empty one or one that comes twice.

    Examples
    --------
    >>> Choice(["positive", "negative"])
    Choice(options=('positive', 'negative'))
    """

    options: tuple[str, ...]
    name = "options"

    def __init__(self, options: Iterable[str]) -> None:
        several = isinstance(options, Iterable) and not isinstance(options, str | bytes)
        texts = tuple(options) if several else ()
        for text in texts:
            if not isinstance(text, str) or SURROGATE.search(text):
                raise ParameterError("options", "texts", text)
        if not texts or not all(texts) or len(set(texts)) < len(texts):
            raise ParameterError("options", "different texts that are not empty", options)
        vars(self).update(options=texts)
        self.check()

    def grammar(self, vocabulary: Vocabulary | None) -> str:
        """Return the grammar: the options side by side."""
        expressions = ("".join(character(ord(c)) for c in option) for option in self.options)
        return f"start: /{'|'.join(expressions)}/\n"
