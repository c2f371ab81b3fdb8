"""What a constraint is: a specification of texts, and matchers that say which token may follow."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Self

import numpy as np
from logitlab.checks import ParameterError, Range, Seen, brief, check_integer, needs
from logitlab.numerics import FloatArray
from logitlab.vocabulary import Vocabulary
from numpy.typing import NDArray

__all__ = ["Constraint", "Matcher", "remove"]

# What llguidance may spend: fuel is work on regular expressions, items are work on rules.
_WORK_LIMITS = {
    "max_items_in_row": 2_000,
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_lexer_states": 250_000,  # of about 600 bytes each
    "max_grammar_size": 200_000,
    "verbose_errors": False,
}
# Tokens that often may follow all together, beside those that llguidance knows of itself: masks of
# patterns take half the time.
_FREQUENT_WORDS = ["[a-z]{1,15}", "[A-Za-z0-9_]{1,20}"]
_LONGEST_GRAMMAR = 1_000_000  # characters of a grammar
_RULE_PLACE = re.compile(r"^at \d+\(\d+\): ")
_HINTS = {
    "The members of oneOf must exclude each other.": "oneOf constraints are not supported",
    "Nothing is fetched: refer into the schema itself.": "retrieving it failed",
}
_QUOTED_LINE = re.compile(r"\d+ \|")  # a line of the grammar, in a message


class Constraint(ABC):
    """An immutable specification of the texts that may be written.

    Attributes
    ----------
    name : str
        What it is called in a message.

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
        return Matcher(self, _empty_matcher(self, vocabulary, ends), ends, len(vocabulary))

    def check(self) -> None:
        """Compile for single bytes, which tells what is wrong with the constraint itself.

        Raises
        ------
        ParameterError
            If it cannot be enforced.
        """
        _empty_matcher(self, _SINGLE_BYTES, (256,))

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

    def __init__(
        self, constraint: Constraint, compiled: Any, ends: tuple[int, ...], size: int
    ) -> None:
        self._constraint = constraint
        self._matcher = compiled.deep_copy()
        self._ends = ends
        self._size = size
        self._bits = np.zeros((size + 31) // 32, np.int32)

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
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        _check_matcher(self._constraint, self._matcher)
        bits = np.unpackbits(self._bits.view(np.uint8), count=self._size, bitorder="little")
        return bits.view(np.bool_)

    def advance(self, token: int) -> None:
        """Append a token.

        Raises
        ------
        ParameterError
            If it may not come next; the matcher is then as before. If it takes more work or memory
            than there may be.
        """
        token = check_integer("token", token, Range(0, self._size - 1, integer=True))
        if self._matcher.try_consume_tokens([token]) != 1:
            _check_matcher(self._constraint, self._matcher)
            # Where nothing else can follow, the matcher has stopped before the end token.
            stopped = self._matcher.is_stopped()
            if stopped and token in self._ends:
                return
            trial = self._matcher.deep_copy()
            trial.consume_token(token)
            if not stopped and "doesn't satisfy the grammar" not in trial.get_error():
                _check_matcher(self._constraint, trial)  # a limit, which leaves no trace here
            raise ParameterError("token", "one that may come next", token)

    @property
    def is_complete(self) -> bool:
        """Whether the text so far is one of the constraint's, so that it may end here."""
        _check_matcher(self._constraint, self._matcher)
        return bool(self._matcher.is_accepting())

    def copy(self) -> Self:
        """Return a matcher of the same text that goes its own way from here."""
        twin = copy.copy(self)
        twin._matcher = self._matcher.deep_copy()
        twin._bits = self._bits.copy()
        return twin


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


class _TokenBytes:
    """A vocabulary as llguidance asks for it."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, ends: tuple[int, ...]) -> None:
        # No text holds the byte 0xFF, which begins the names of special tokens over there.
        self.tokens = [b"" if b"\xff" in token else token for token in vocabulary]
        self.special_token_ids = sorted(vocabulary.special.union(ends))
        self.eos_token_id = ends[0]

    def __call__(self, text: bytes) -> list[int]:
        return []  # only forced texts are encoded, and nothing is forced here


@lru_cache(maxsize=8)
def _byte_tokenizer(vocabulary: Vocabulary, ends: tuple[int, ...]) -> Any:
    library = needs("structured", "llguidance")
    wrapper = library.TokenizerWrapper(_TokenBytes(vocabulary, ends))
    slices = [*_FREQUENT_WORDS, *library.LLTokenizer.general_slices()]
    return library.LLTokenizer(wrapper, eos_token=list(ends), slices=slices)


@lru_cache(maxsize=64)
def _empty_matcher(constraint: Constraint, vocabulary: Vocabulary, ends: tuple[int, ...]) -> Any:
    """Return the matcher of an empty text that all others are copies of."""
    tokenizer = _byte_tokenizer(vocabulary, ends)
    library = needs("structured", "llguidance")
    grammar = constraint.grammar(vocabulary)
    if len(grammar) > _LONGEST_GRAMMAR:
        rule = f"at most {_LONGEST_GRAMMAR} characters long"
        raise ParameterError(constraint.name, rule, Seen(f"{len(grammar)} of them"))
    # Where only one text can follow, llguidance would allow only its own tokens for it.
    grammar = f'%llguidance {{"no_forcing": true}}\n{grammar}'
    limits = library.LLParserLimits(**_WORK_LIMITS)
    matcher = library.LLMatcher(
        tokenizer, library.LLMatcher.grammar_from_lark(grammar), log_level=0, limits=limits
    )
    if matcher.is_error():
        raise ParameterError(
            constraint.name, "one that can be enforced", constraint, _complaint(matcher)
        )
    matcher.compute_bitmask()
    _check_matcher(constraint, matcher)
    return matcher


def _check_matcher(constraint: Constraint, matcher: Any) -> None:
    """Raise if a matcher has failed: it would look as if the text had ended."""
    if not matcher.is_error():
        return
    if matcher.get_error().startswith("NoExtension"):
        hint = "Nothing may follow here."
        raise ParameterError(constraint.name, "one that these tokens can spell", constraint, hint)
    rule = "simple enough to follow it"
    raise ParameterError(constraint.name, rule, constraint, _complaint(matcher))


def _complaint(matcher: Any) -> str:
    """Return what llguidance says is wrong, in one line."""
    message = matcher.get_error().removesuffix("<non-verbose/>")
    lines = [line.strip() for line in message.splitlines()]
    sentence = " ".join(line for line in lines if line.strip("^") and not _QUOTED_LINE.match(line))
    for hint, words in _HINTS.items():
        if words in sentence:
            return hint
    sentence = _RULE_PLACE.sub("", sentence).removeprefix("failed to compile JSON schema: ")
    return f"llguidance: {brief(Seen(sentence)).rstrip('.')}."
