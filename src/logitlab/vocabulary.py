"""Token ids <-> bytes <-> text, and labels that show every token legibly."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range, Seen, check_choice, check_integer
from numpy.typing import ArrayLike, NDArray

__all__ = ["Vocabulary", "check_size"]

_ERRORS = ("replace", "strict", "ignore", "backslashreplace", "surrogateescape", "surrogatepass")
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


class Vocabulary:
    r"""The bytes of every token, immutable.

    Parameters
    ----------
    tokens : iterable of bytes
        Token ``i`` is the ``i``-th item. A token may be any bytes, part of a character included.
    special : iterable of int
        Ids of control tokens such as ``<|im_end|>``, whose bytes are a name and not text.

    Examples
    --------
    >>> vocabulary = Vocabulary([b"<end>", b" the", b"\n", b"\xe6\x97"], special=[0])
    >>> vocabulary.decode([1, 1, 2])
    ' the the\n'
    >>> [vocabulary.label(token) for token in range(4)]
    ['<end>', '␣the', '⏎', '<0xE6><0x97>']
    """

    def __init__(self, tokens: Iterable[bytes], special: Iterable[int] = ()) -> None:
        is_list = isinstance(tokens, Iterable) and not isinstance(tokens, str | bytes | np.ndarray)
        self._tokens = tuple(tokens) if is_list else ()
        if not self._tokens:
            raise ParameterError("tokens", "a non-empty sequence of bytes", tokens)
        for i, token in enumerate(self._tokens):
            if not isinstance(token, bytes):
                hint = "A text becomes bytes by .encode()." if isinstance(token, str) else ""
                raise ParameterError(f"tokens[{i}]", "bytes", token, hint)
        ids = [check_integer("special", i, Range(0, len(self._tokens) - 1, True)) for i in special]
        self._special = frozenset(ids)

    @classmethod
    def from_blob(
        cls, blob: NDArray[np.uint8], offsets: NDArray[Any], special: Iterable[int] = ()
    ) -> Vocabulary:
        """Build from all bytes in a row: token ``i`` is ``blob[offsets[i]:offsets[i + 1]]``."""
        data = blob.tobytes()
        return cls((data[start:end] for start, end in pairwise(offsets.tolist())), special)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, token: int) -> bytes:
        """Return the bytes of one token."""
        if type(token) is int and 0 <= token < len(self._tokens):
            return self._tokens[token]  # the common case, and the cheap one
        return self._tokens[check_integer("token", token, Range(0, len(self) - 1, True))]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self._tokens == other._tokens and self._special == other._special

    def __hash__(self) -> int:
        return hash((self._tokens, self._special))

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)} tokens, {len(self._special)} special>"

    @property
    def special(self) -> frozenset[int]:
        """Ids of the control tokens."""
        return self._special

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        # Built from the end, so that the lowest id of equal tokens is the one found.
        return {token: i for i, token in reversed(tuple(enumerate(self._tokens)))}

    def find(self, token: str | bytes) -> int:
        """Return the id of the one token that is exactly this text.

        Raises
        ------
        ParameterError
            If no single token is.

        Examples
        --------
        >>> Vocabulary([b"a", b" b"]).find(" b")
        1
        """
        data = token.encode("utf-8", "replace") if isinstance(token, str) else token
        if not isinstance(data, bytes) or data not in self._ids:
            raise ParameterError("token", "the whole text of one token of this vocabulary", token)
        return self._ids[data]

    def holding(self, data: bytes) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the tokens that hold some bytes, and those that end in a beginning of them.

        Of each of these there is also the length of the beginning; one that ends in several stands
        there for each, the longest first.

        Examples
        --------
        >>> Vocabulary([b"a", b"xab", b"ba", b"ab"]).holding(b"ab")
        ([1, 3], [(0, 1), (2, 1)])
        """
        known: dict[bytes, Any] = self.__dict__.setdefault("_held", {})
        if data not in known:
            beginnings = [data[:n] for n in range(len(data) - 1, 0, -1)]
            whole = [i for i, token in enumerate(self._tokens) if data in token]
            ends = [
                (i, len(beginning))
                for i, token in enumerate(self._tokens)
                if token.endswith(tuple(beginnings)) and data not in token
                for beginning in beginnings
                if token.endswith(beginning)
            ]
            known[data] = whole, ends
        held: tuple[list[int], list[tuple[int, int]]] = known[data]
        return held

    def decode(self, tokens: ArrayLike, *, errors: str = "replace") -> str:
        """Return the text of a sequence of token ids.

        Parameters
        ----------
        tokens : array_like of int, shape (T,)
        errors : str
            What to do with bytes that are no UTF-8, as in `bytes.decode`.
        """
        check_choice("errors", errors, _ERRORS)
        ids = Range(0, len(self) - 1, True).check("tokens", tokens)
        return b"".join(self._tokens[i] for i in ids.ravel()).decode("utf-8", errors)

    def label(self, token: int) -> str:
        """Return a token as something the eye can tell apart, on one line.

        Space is ``␣``, newline ``⏎``, tab ``⇥``, carriage return ``␍``; a byte that is no
        character of its own is ``<0xE6>``, any other invisible character ``<U+200B>``; a lone
        combining mark stands on ``◌``; the empty token is ``<empty>``.
        """
        # Undecodable bytes become the lone surrogates U+DC80..U+DCFF.
        text = self[token].decode("utf-8", "surrogateescape")
        label = "".join(_visible(character) for character in text)
        if label and unicodedata.combining(label[0]):
            label = "◌" + label
        return label or "<empty>"


def check_size(name: str, vocabulary: Vocabulary, size: int) -> None:
    """Raise `ParameterError` for a vocabulary that cannot be that of rows of so many logits.

    It may lack some tokens at the end, since models pad their rows: by a tenth, or up to a multiple
    of 128.
    """
    if not size - max(size // 10, 127) <= len(vocabulary) <= size:
        seen = Seen(f"{len(vocabulary)}")
        raise ParameterError(name, f"of {size} tokens, as many as the logits", seen)


def _visible(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"<0x{code - 0xDC00:02X}>"
    if code < 0x20 or code == 0x7F:
        return f"<0x{code:02X}>"
    # Letters, marks, numbers, punctuation and symbols show themselves; separators and the
    # categories of control, format, private and unassigned characters do not.
    if unicodedata.category(character)[0] in "LMNPS":
        return character
    return f"<U+{code:04X}>"
