"""Write constrained texts with random logits, and read texts with parsers of our own."""

from __future__ import annotations

import codecs
import json
from functools import lru_cache

import numpy as np
from logitlab import Vocabulary, datasets
from logitlab.constraints import Constraint, Matcher
from logitlab.models import NGram

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
