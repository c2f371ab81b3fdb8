"""Write constrained texts with random logits, and read texts with parsers of our own."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from logitlab import Vocabulary, datasets
from logitlab.constraints import Constraint, Matcher
from logitlab.constraints.compiled import compiled_for
from logitlab.models import NGram

# How many texts a test writes; LOGITLAB_EXAMPLES=200 asks for more.
RUNS = max(60, int(os.environ.get("LOGITLAB_EXAMPLES", "20")))
BYTES = Vocabulary([*(bytes([value]) for value in range(256)), b"<end>"], [256])
CLOSING = (b'"', b"}", b"]", b'"}', b'"]', b"}}", b"</tool_call>")


@lru_cache
def vocabularies() -> dict[str, tuple[Vocabulary, tuple[int, ...]]]:
    """Return each vocabulary with its end tokens."""
    bundled = NGram.bundled()
    return {
        "bytes": (BYTES, (256,)),
        "grimm": (bundled.vocabulary, tuple(bundled.end_ids)),
        "smollm2": (datasets.load("smollm2").vocabulary, (2, 0)),
    }


@lru_cache
def _closing(name: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    vocabulary, ends = vocabularies()[name]
    bonus = np.zeros(len(vocabulary), np.float32)
    bonus[[i for i, token in enumerate(vocabulary) if token in CLOSING]] = 1
    bonus[list(ends)] = 1
    return bonus


def written(
    constraint: Constraint, name: str, seed: int, most: int = 200, close: float = 4.0
) -> tuple[list[int], bool]:
    """Return the tokens of a text of random logits, and whether it has ended.

    The temperature is random, and what closes something is somewhat more likely, so that texts end.
    """
    vocabulary, ends = vocabularies()[name]
    matcher = constraint.start(vocabulary, ends)
    rng = np.random.default_rng(seed)
    spread = np.float32(rng.uniform(0.3, 2.0))
    tokens: list[int] = []
    for _ in range(most):
        allowed = matcher.allowed()
        assert matcher.is_complete == allowed[list(ends)].all() == allowed[list(ends)].any()
        ids = np.flatnonzero(allowed)  # the logits of all others would be removed
        logits = rng.standard_normal(len(ids), np.float32) * spread
        logits += np.float32(close) * _closing(name)[ids]
        token = int(ids[logits.argmax()])
        matcher.advance(token)
        if token in ends:
            return tokens, True
        tokens.append(token)
    return tokens, False


def text(name: str, tokens: list[int]) -> str:
    vocabulary, _ = vocabularies()[name]
    return b"".join(vocabulary[token] for token in tokens).decode()


def accepts(constraint: Constraint, data: str | bytes) -> bool:
    """Say whether a whole text is one of the constraint's, byte by byte."""
    matcher = constraint.start(BYTES, [256])
    return follows(matcher, data.encode() if isinstance(data, str) else data, whole=True)


def follows(matcher: Matcher, data: bytes, *, whole: bool = False) -> bool:
    """Say whether bytes may follow, by a matcher of single bytes that is left as it was."""
    matcher = matcher.copy()
    for value in data:
        if not matcher.allowed()[value]:
            return False
        matcher.advance(value)
    return matcher.is_complete if whole else True


class _OpenError(Exception):
    """The text ends in the middle of something."""


def begins_json(data: bytes, first: str = "") -> bool:
    """Say whether bytes are the beginning of a compact JSON text that starts with ``first``.

    Strings have the seven short escapes (but for ``\\/``) and no control character.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        so_far = decoder.decode(data)
    except UnicodeDecodeError:
        return False
    if decoder.getstate()[0]:
        so_far += "\ue000"  # whatever character it becomes
    if first and so_far and so_far[0] != first:
        return False
    try:
        at = _value(so_far, 0)
    except _OpenError:
        return True
    except ValueError:
        return False
    return at == len(so_far)


def _at(s: str, i: int) -> str:
    if i >= len(s):
        raise _OpenError
    return s[i]


def _literal(s: str, i: int, literal: str) -> int:
    for expected in literal:
        if _at(s, i) != expected:
            raise ValueError
        i += 1
    return i


def _value(s: str, i: int) -> int:
    c = _at(s, i)
    if c == '"':
        return _string(s, i)
    if c in "{[":
        return _group(s, i, "}" if c == "{" else "]")
    for word in ("true", "false", "null"):
        if c == word[0]:
            return _literal(s, i, word)
    return _numeral(s, i)


def _string(s: str, i: int) -> int:
    i = _literal(s, i, '"')
    while (c := _at(s, i)) != '"':
        if c < " " or c == "\x7f":
            raise ValueError
        i += 1
        if c == "\\":
            if _at(s, i) not in 'nrbtf"\\':
                raise ValueError
            i += 1
    return i + 1


def _group(s: str, i: int, close: str) -> int:
    i += 1
    if _at(s, i) == close:
        return i + 1
    while True:
        if close == "}":
            i = _literal(s, _string(s, i), ":")
        i = _value(s, i)
        if _at(s, i) == close:
            return i + 1
        i = _literal(s, i, ",")


def _digits(s: str, i: int) -> int:
    if not ("0" <= _at(s, i) <= "9"):
        raise ValueError
    while i < len(s) and "0" <= s[i] <= "9":
        i += 1
    return i


def _numeral(s: str, i: int) -> int:
    i += _at(s, i) == "-"
    i = i + 1 if _at(s, i) == "0" else _digits(s, i)
    if i < len(s) and s[i] == ".":
        i = _digits(s, i + 1)
    if i < len(s) and s[i] in "eE":
        i += 1
        i = _digits(s, i + (_at(s, i) in "+-"))
    return i


def prefixes(values: list[object]) -> set[bytes]:
    """Return every beginning of the compact texts of some values."""
    texts = [json.dumps(v, ensure_ascii=False, separators=(",", ":")).encode() for v in values]
    return {whole[:n] for whole in texts for n in range(len(whole) + 1)}


class UnreadError(Exception):
    """A value whose spelling was not found in the steps there are."""


_MOST_BYTES = 8_000  # of tries that go back


def spelled(constraint: Constraint, value: object, *, exactly: bool = False) -> str | None:
    """Return the text of a value that a constraint accepts, or None if it accepts none.

    Texts are compact, and a whole number is tried without a point first, unless it is to stand
    ``exactly`` as it was: to draft 4, 1.0 is no integer. A key is written next
    where that leaves every other key possible; if this finds nothing, more is tried.
    """
    speller = _Speller(constraint, exactly)
    for care in range(2 if exactly else 3):
        found = speller.text(value, care)
        if found is not None:
            return found
    return None


_LIMITS = {"step_lexer_fuel": 5_000_000, "max_lexer_states": 250_000}


class _Speller:
    """Reads with llguidance's own matcher, which takes many bytes a call."""

    def __init__(self, constraint: Constraint, exactly: bool) -> None:
        self.exactly = exactly
        self.start = compiled_for(constraint, BYTES, (256,)).empty(_LIMITS)
        self.source = getattr(constraint, "text", "")

    def text(self, value: object, care: int) -> str | None:
        self.thorough = care > 0  # tries further spellings and keys, and at last all orders
        self.loose = care > 1
        self.bytes = 0
        for matcher, text in self.values(self.start, value):
            if matcher.is_accepting():
                return text
        return None

    def after(self, matcher: Any, text: str) -> Any | None:
        """Return a matcher that has read a text, or None where it may not come."""
        matcher = matcher.deep_copy()
        data = text.encode("utf-8", "surrogatepass")
        self.bytes += len(data)
        if self.bytes > (_MOST_BYTES if self.thorough else 10 * _MOST_BYTES):
            raise UnreadError("too many tries:")
        if matcher.try_consume_tokens(list(data)) == len(data):
            return matcher
        if matcher.is_error() and "doesn't satisfy the grammar" not in matcher.get_error():
            raise UnreadError(matcher.get_error())
        return None

    def place(self, key: str) -> int:
        at = self.source.find(f"{json.dumps(key)}: ")
        return at if at >= 0 else len(self.source)

    def values(self, matcher: Any, value: object) -> Iterator[tuple[Any, str]]:
        if isinstance(value, dict):
            if (opened := self.after(matcher, "{")) is not None:
                keys = sorted(value, key=self.place)
                yield from self.pairs(opened, {key: value[key] for key in keys}, "{")
        elif isinstance(value, list):
            if (opened := self.after(matcher, "[")) is not None:
                yield from self.items(opened, value, "[")
        else:
            texts = [json.dumps(value, ensure_ascii=False)]
            if isinstance(value, float):
                texts = [f"{Decimal(repr(value)):f}", *texts]
                if value == int(value) and not self.exactly:
                    texts = [str(int(value)), *texts]
            for text in dict.fromkeys(texts):
                if (after := self.after(matcher, text)) is not None:
                    yield after, text
                    if not self.thorough:
                        return

    def items(self, matcher: Any, items: list[object], text: str) -> Iterator[tuple[Any, str]]:
        stack = [self.values(matcher, items[0])] if items else []
        texts = [text]
        if not items:
            if (closed := self.after(matcher, "]")) is not None:
                yield closed, text + "]"
            return
        while stack:
            after, item = next(stack[-1], (None, ""))
            if after is None:
                stack.pop()
                texts.pop()
                continue
            so_far = texts[-1] + item
            if len(stack) == len(items):
                if (closed := self.after(after, "]")) is not None:
                    yield closed, so_far + "]"
            elif (opened := self.after(after, ",")) is not None:
                further = self.values(opened, items[len(stack)])
                if not self.thorough:
                    stack[-1] = iter(())  # a matcher of a long text takes megabytes
                stack.append(further)
                texts.append(so_far + ",")

    def keys(self, matcher: Any, rest: Iterable[str], comma: str) -> list[str]:
        """Return the keys that may come next."""
        return [key for key in rest if self.after(matcher, comma + _key(key)) is not None]

    def pairs(self, matcher: Any, rest: dict[str, object], text: str) -> Iterator[tuple[Any, str]]:
        if not rest:
            if (closed := self.after(matcher, "}")) is not None:
                yield closed, text + "}"
            return
        comma = "," if len(text) > 1 else ""
        opened = self.keys(matcher, rest, comma)
        for key in opened:
            others = {other: value for other, value in rest.items() if other != key}
            safe = False
            for after, item in self.values(self.after(matcher, comma + _key(key)), rest[key]):
                further = [other for other in opened if other != key]
                still = [] if self.loose else self.keys(after, further, ",")
                if self.loose or len(still) == len(opened) - 1:
                    safe = True
                    yield from self.pairs(after, others, text + comma + _key(key) + item)
            if safe and not self.thorough:
                return


def _key(key: str) -> str:
    return json.dumps(key, ensure_ascii=False) + ":"
