"""What llguidance makes of a grammar, and what each text may cost.

All matchers of one compiled grammar share a lexer, also their copies, and what they share can be
used up: after one has gone beyond a limit each other one fails. So a text that the shared lexer
cannot follow is read again with a lexer of its own, which may spend ten times as much; only what
fails there has failed. What a text gets therefore depends on that text alone.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn, Protocol, Self

import numpy as np
from logitlab.checks import ParameterError, Seen, brief, needs
from logitlab.vocabulary import Vocabulary
from numpy.typing import NDArray

__all__ = ["Compiled", "Text", "compiled_for"]

# What llguidance may spend: fuel is work on regular expressions, items are work on rules.
_LIMITS = {
    "max_items_in_row": 200_000,
    "step_max_items": 500_000,
    "max_grammar_size": 200_000,
    "initial_lexer_fuel": 1_000_000,
    "verbose_errors": False,
}
_SHARED_LIMITS = {"step_lexer_fuel": 1_000_000, "max_lexer_states": 100_000}
_OWN_LIMITS = {"step_lexer_fuel": 10_000_000, "max_lexer_states": 250_000}  # 600 bytes a state
# Tokens that often may follow all together, beside those that llguidance knows of itself: masks of
# patterns take half the time.
_FREQUENT_WORDS = ["[a-z]{1,15}", "[A-Za-z0-9_]{1,20}"]
_LONGEST_GRAMMAR = 1_000_000  # characters of a grammar
_RULE_PLACE = re.compile(r"^at \d+\(\d+\): ")
_HINTS = {
    "A key may match two patterns, of patternProperties or propertyNames: let one be.": (
        "are not disjoint"
    ),
    "A schema that refers to itself has conditions beside the reference there.": (
        "circular references with sibling keys"
    ),
    "A pattern has ^ after or $ before what it matches.": "lookarounds not supported",
    "A bound lies beyond the integers of 64 bits.": "Failed to generate regex for",
    "Whether a text can be all this is too hard to tell; drop a length, a pattern or a format.": (
        "Unable to determine if regex is empty"
    ),
}
_DEFINITION = re.compile(r" while processing json-schema:\S*")  # of a compiled definition
_QUOTED_LINE = re.compile(r"\d+ \|")  # a line of the grammar, in a message


class _Specification(Protocol):
    """What is needed of a constraint."""

    @property
    def name(self) -> str: ...

    def grammar(self, vocabulary: Vocabulary | None) -> str: ...


class Compiled:
    """A constraint, compiled for the tokens of a vocabulary.

    Parameters
    ----------
    constraint : Constraint
    vocabulary : Vocabulary
    ends : tuple of int
        The tokens that end a text.

    Raises
    ------
    ParameterError
        If it cannot be compiled, or no text of it begun.
    """

    def __init__(
        self, constraint: _Specification, vocabulary: Vocabulary, ends: tuple[int, ...]
    ) -> None:
        self.constraint = constraint
        self.ends = ends
        self.size = len(vocabulary)
        self._tokenizer = _byte_tokenizer(vocabulary, ends)
        grammar = constraint.grammar(vocabulary)
        if len(grammar) > _LONGEST_GRAMMAR:
            rule = f"at most {_LONGEST_GRAMMAR} characters long"
            raise ParameterError(constraint.name, rule, Seen(f"{len(grammar)} of them"))
        # Where only one text can follow, llguidance would allow only its own tokens for it.
        self._grammar = f'%llguidance {{"no_forcing": true}}\n{grammar}'
        self._shared = self.empty(_SHARED_LIMITS)
        Text(self, constraint).check()

    def empty(self, limits: dict[str, int]) -> Any:
        """Return a matcher of an empty text, with a lexer that no other has."""
        library = needs("structured", "llguidance")
        matcher = library.LLMatcher(
            self._tokenizer,
            library.LLMatcher.grammar_from_lark(self._grammar),
            log_level=0,
            limits=library.LLParserLimits(**_LIMITS, **limits),
        )
        if matcher.is_error():
            rule, hint = "one that can be enforced", _complaint(matcher.get_error())
            raise ParameterError(self.constraint.name, rule, self.constraint, hint)
        matcher.compute_bitmask()  # every copy knows it
        return matcher

    def shared(self) -> Any:
        """Return a matcher of an empty text that others share their lexer with.

        One whose lexer is used up is replaced: most texts are far from any limit by themselves.
        """
        if _lexer_error(self._shared):
            self._shared = self.empty(_SHARED_LIMITS)
        return self._shared


class Text:
    """A text in the making, as llguidance follows it.

    The mask is known before each token. So what a lexer has done for a text is a function of its
    tokens, also where they are read again.
    """

    def __init__(self, compiled: Compiled, constraint: _Specification) -> None:
        self.compiled = compiled
        self._constraint = constraint  # an equal one may have another name
        self._tokens: list[int] = []
        self._has_own_lexer = False
        self._is_known = False  # whether the mask is that of the text so far
        self._is_stuck = False  # whether no token may come next
        self._write_to(np.zeros((compiled.size + 31) // 32, np.int32))
        self._begin(compiled.shared())

    @property
    def bits(self) -> NDArray[np.int32]:
        """A bit for every token that may come next; none if these tokens can spell nothing."""
        self._know()
        return self._bits

    def check(self) -> None:
        """Raise if no token may come next."""
        self._know()
        if self._is_stuck:
            rule, hint = "one that these tokens can spell", "Nothing may follow here."
            raise ParameterError(self._constraint.name, rule, self._constraint, hint)

    def add(self, token: int) -> None:
        """Append one of the tokens that may come next."""
        self._try(lambda: self._consume(token))
        self._tokens.append(token)
        self._is_known = False

    def copy(self) -> Self:
        """Return the same text, to go its own way from here."""
        twin = copy.copy(self)
        twin._tokens = self._tokens.copy()
        twin._write_to(self._bits.copy())
        if self._has_own_lexer:
            twin._read_alone()
        else:
            twin._matcher = self._matcher.deep_copy()
        return twin

    def _write_to(self, bits: NDArray[np.int32]) -> None:
        self._bits = bits
        self._address = bits.ctypes.data

    def _begin(self, empty: Any) -> None:
        self._empty = empty
        self._matcher = empty.deep_copy()

    def _know(self) -> None:
        """Compute the mask of the text so far, unless it is known."""
        if not self._is_known:
            self._try(self._look)
            self._is_known = True

    def _try(self, step: Callable[[], bool]) -> None:
        """Do a step, if need be with a lexer of one's own, or raise."""
        done = step()
        if not done and not self._has_own_lexer:
            self._read_alone()
            done = step()
        if not done:
            self._raise()

    def _read_alone(self) -> None:
        """Read the text so far again, with a lexer that no other text has."""
        self._has_own_lexer = True
        self._begin(self.compiled.empty(_OWN_LIMITS))
        for token in self._tokens:
            if not (self._look() and self._consume(token)):
                self._raise()

    def _look(self) -> bool:
        """Compute the mask, and say whether nothing was too much."""
        self._matcher.unsafe_compute_mask_ptr(self._address, self._bits.nbytes)
        if self._matcher.is_error():
            self._bits[:] = 0
            self._is_stuck = self._matcher.get_error().startswith("NoExtension")
            return self._is_stuck
        # A text that has come to its end looks the same where a limit has been met.
        return not self._matcher.is_stopped() or not _lexer_error(self._empty)

    def _consume(self, token: int) -> bool:
        # Where nothing else can follow, the matcher has stopped before the end token.
        stopped = self._matcher.is_stopped() and token in self.compiled.ends
        return stopped or bool(self._matcher.consume_token(token))

    def _raise(self) -> NoReturn:
        message = self._matcher.get_error() or _lexer_error(self._empty)
        rule, hint = "simple enough to follow it", _complaint(message)
        raise ParameterError(self._constraint.name, rule, self._constraint, hint)


def _lexer_error(empty: Any) -> str:
    """Return what is wrong with the lexer of an empty text, or nothing."""
    trial = empty.deep_copy()
    trial.compute_bitmask()  # is known, so that only the lexer is looked at
    error: str = trial.get_error()
    return "" if error.startswith("NoExtension") else error


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
def compiled_for(
    constraint: _Specification, vocabulary: Vocabulary, ends: tuple[int, ...]
) -> Compiled:
    """Return a constraint compiled, kept for further texts."""
    return Compiled(constraint, vocabulary, ends)


def _complaint(message: str) -> str:
    """Return what llguidance says is wrong, in one line."""
    lines = [line.strip() for line in message.removesuffix("<non-verbose/>").splitlines()]
    sentence = " ".join(line for line in lines if line.strip("^") and not _QUOTED_LINE.match(line))
    sentence = _DEFINITION.sub("", sentence)
    for hint, words in _HINTS.items():
        if words in sentence:
            return hint
    sentence = _RULE_PLACE.sub("", sentence).removeprefix("failed to compile JSON schema: ")
    return f"llguidance: {brief(Seen(sentence)).rstrip('.')}."
