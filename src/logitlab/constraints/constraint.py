"""What a constraint is: a specification of texts, and matchers that say which token may follow."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range, check_integer
from logitlab.constraints.compiled import Text, compiled_for
from logitlab.vocabulary import Vocabulary
from numpy.typing import NDArray

__all__ = ["Constraint", "Matcher", "remove"]


class Constraint(ABC):
    """An immutable specification of the texts that may be written.

    Attributes
    ----------
    name : str
        What it is called in a message.
    notes : tuple of str
        What its specification says and it does not enforce, a sentence each.

    Examples
    --------
    >>> from logitlab.constraints import Choice
    >>> vocabulary = Vocabulary([b"<end>", b"y", b"es", b"no"], special=[0])
    >>> matcher = Choice(["yes", "no"]).start(vocabulary, [0])
    >>> matcher.allowed()
    array([False,  True, False,  True])
    >>> matcher.advance(3)
    >>> matcher.is_complete, matcher.allowed()
    (True, array([ True, False, False, False]))
    """

    name: str = "constraint"
    notes: tuple[str, ...] = ()

    @abstractmethod
    def grammar(self, vocabulary: Vocabulary | None) -> str:
        """Return the grammar in the Lark dialect of llguidance.

        Parameters
        ----------
        vocabulary : Vocabulary or None
            Whose special tokens may be named; None leaves them out.
        """

    def start(self, vocabulary: Vocabulary, end_ids: Iterable[int]) -> Matcher:
        """Return a matcher of an empty text.

        What is compiled is kept, so that every further matcher of the same constraint and
        vocabulary costs a copy.

        Parameters
        ----------
        vocabulary : Vocabulary
            Tokens whose bytes the texts are spelled with. Of its special tokens only those that
            belong to the constraint ever follow.
        end_ids : iterable of int
            Tokens that end a text: at least one, because only such a token says that a text which
            could go on is complete.

        Raises
        ------
        ParameterError
            If there is no end token, or these tokens can spell no text of the constraint.
        ImportError
            If llguidance is not installed, with the command that installs it.
        """
        if not isinstance(vocabulary, Vocabulary):
            raise ParameterError("vocabulary", "a Vocabulary", vocabulary)
        if not isinstance(end_ids, Iterable):
            raise ParameterError("end_ids", "token ids", end_ids)
        rule = Range(0, len(vocabulary) - 1, integer=True)
        ends = tuple(sorted({check_integer("end_ids", end, rule) for end in end_ids}))
        if not ends:
            hint = "A constrained text is complete where a token ends it."
            raise ParameterError("end_ids", "at least one token", list(ends), hint)
        return Matcher(Text(compiled_for(self, vocabulary, ends), self))

    def check(self) -> None:
        """Compile for single bytes, which tells what is wrong with the constraint itself.

        Raises
        ------
        ParameterError
            If it cannot be enforced.
        """
        compiled_for(self, _SINGLE_BYTES, (256,))

    def allows(self, text: str) -> bool:
        """Whether a text is one of the constraint's: whole, not only the beginning of one.

        Examples
        --------
        >>> from logitlab.constraints import JsonObject
        >>> JsonObject().allows('{"a":1}'), JsonObject().allows('{"a":1')
        (True, False)
        """
        try:
            matcher = self.start(_SINGLE_BYTES, [256])
            for byte in text.encode("utf-8", "surrogatepass"):
                matcher.advance(byte)
            return matcher.is_complete
        except ParameterError:
            return False


class Matcher:
    """One text in the making, and which token may come next.

    Examples
    --------
    >>> from logitlab.constraints import Regex
    >>> vocabulary = Vocabulary([b"<end>", b"a", b"b", b"ab"], special=[0])
    >>> matcher = Regex("a+b").start(vocabulary, [0])
    >>> matcher.advance(1)
    >>> branch = matcher.copy()
    >>> branch.advance(2)
    >>> branch.is_complete, matcher.is_complete, matcher.allowed()
    (True, False, array([False,  True,  True,  True]))
    >>> branch.advance(2)
    Traceback (most recent call last):
    logitlab.checks.ParameterError: token must be one that may come next, got 2.
    """

    def __init__(self, text: Text) -> None:
        self._text = text
        self._tokens = Range(0, text.compiled.size - 1, integer=True)

    def allowed(self) -> NDArray[np.bool_]:
        """Say of every token whether it may come next.

        Returns
        -------
        ndarray of bool, shape (V,)
            True where some text of the constraint goes on with the bytes of the token, and for
            the end tokens exactly where the text is complete. After an end token only end tokens
            may follow. The caller's to keep.

        Raises
        ------
        ParameterError
            If no token may come, because the vocabulary cannot spell what has to follow, or if
            that takes more work than a step may.
        """
        self._text.check()
        bits = self._text.bits.view(np.uint8)
        mask = np.unpackbits(bits, count=self._text.compiled.size, bitorder="little")
        return mask.view(np.bool_)

    def advance(self, token: int) -> None:
        """Append a token.

        Raises
        ------
        ParameterError
            If it may not come next; the matcher is then as before. If it takes more work or memory
            than there may be.
        """
        token = check_integer("token", token, self._tokens)
        if not self._may_come(token):
            raise ParameterError("token", "one that may come next", token)
        self._text.add(token)

    @property
    def is_complete(self) -> bool:
        """Whether the text so far is one of the constraint's, so that it may end here.

        Raises
        ------
        ParameterError
            If that takes more work than a step may.
        """
        return self._may_come(self._text.compiled.ends[0])

    def copy(self) -> Self:
        """Return a matcher of the same text that goes its own way from here."""
        twin = copy.copy(self)
        twin._text = self._text.copy()
        return twin

    def _may_come(self, token: int) -> bool:
        return bool(self._text.bits[token >> 5] >> (token & 31) & 1)


def remove(logits: FloatArray, allowed: NDArray[np.bool_]) -> None:
    """Set the logits of tokens that may not come next to -inf, in place.

    The same as ``logits[~allowed] = -np.inf``, without a branch for every token, which takes five
    times as long where about half of them may come.

    Parameters
    ----------
    logits : ndarray of float32 or float64, shape (V,)
        Contiguous; changed.
    allowed : ndarray of bool, shape (V,)

    Examples
    --------
    >>> logits = np.array([0.5, 1.5, -2.0], np.float32)
    >>> remove(logits, np.array([True, False, True]))
    >>> logits
    array([ 0.5, -inf, -2. ], dtype=float32)
    """
    word = np.dtype(f"i{logits.itemsize}").type
    keep = allowed.view(np.int8).astype(word)
    np.negative(keep, out=keep)  # all bits where a token stays, none elsewhere
    bits = logits.view(word)
    bits &= keep
    np.invert(keep, out=keep)
    keep &= logits.dtype.type(-np.inf).view(word)
    bits |= keep


_SINGLE_BYTES = Vocabulary([*(bytes([value]) for value in range(256)), b"<end>"], [256])
