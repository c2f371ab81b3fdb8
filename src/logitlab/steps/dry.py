"""DRY: a token that would go on with a repetition is penalised by how long that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import DOUBLE, LARGEST, Precision, scatter
from logitlab.steps.context import Context, needed_context
from logitlab.steps.ids import TokenSequences
from logitlab.steps.repeats import Breakers, continuations
from logitlab.steps.step import SparseStep, Words, option
from numpy.typing import ArrayLike

__all__ = ["Dry", "dry"]

LENGTH = Range(0, integer=True)
ROOM = {
    "allowed": None,
    "more": Words(
        "more than allowed", "wants more tokens after the last breaker than the allowed length"
    ),
    "two more": Words(
        "2 more than allowed",
        "wants two tokens more after the last breaker than the allowed length",
    ),
    "one or two more": Words(
        "1 or 2 more than allowed",
        "wants one token more after the last breaker than the allowed length, or two in all",
    ),
}


def dry(
    logits: ArrayLike,
    multiplier: ArrayLike,
    context: Context | None,
    *,
    base: float = 1.75,
    allowed_length: int = 2,
    last_n: int | None = None,
    breakers: Any = (),
    penalises_breakers: bool = False,
    room: str = "allowed",
    least: int | None = None,
    longest: int | None = None,
    occurrences: int | None = None,
    enough: int | None = None,
) -> FloatArray:
    """Penalise what would go on with a repetition: ``x - m b ** (k - a)``.

    Where the last k tokens of the context stand earlier in it, too, the token that followed there
    would make it k + 1. The longest k of each token counts, if it is at least the allowed length a.
    No repetition reaches back over a breaker.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    multiplier : array_like, broadcasting to the batch shape (...)
        m, any finite number. 0 changes nothing, a negative one rewards repetition.
    context : Context
        The tokens so far, prompt and output.
    base : float
        b, at least 0. Below 1 long repetitions weigh less than short ones.
    allowed_length : int
        a, at least 0.
    last_n : int, optional
        Only the last n tokens are looked at; None looks at all.
    breakers : sequence of sequences of token ids
        A token id alone is a sequence of one. Repetitions are counted from the last breaker on: the
        one whose first token is newest, and of several that begin there the longest.
    penalises_breakers : bool
        Whether a breaker of one token is penalised, too, where it would go on with a repetition.
    room : {"allowed", "more", "two more", "one or two more"}
        How many tokens there have to be after the last breaker, or in all: as many as the allowed
        length, or more. "one or two more" are one more after a breaker, and two more in all.
    least : int, optional
        The shortest repetition that is penalised; None is the allowed length, and at least 1. With
        0 every token counts that follows anything at all.
    longest : int, optional
        Longer repetitions count as of this length, and breakers farther back as none.
    occurrences : int, optional
        Only so many places, the newest ones, where the last token stands are looked at.
    enough : int, optional
        At a repetition of this length no older place is looked at.

    Returns
    -------
    ndarray, shape (..., V)
        The exponent goes no further than the dtype of the arithmetic can hold the power.

    Raises
    ------
    ParameterError
        If ``multiplier`` is not finite or does not broadcast, the context does not fit, or an
        option is out of its range.

    Notes
    -----
    llama.cpp is ``least=allowed_length``, off for a base below 1; its window is 64 tokens by
    default. KoboldCpp is that with ``penalises_breakers=True, room="more"``, and off for a negative
    multiplier. exllamav3 is as llama.cpp, with breakers of one token. text-generation-webui counts
    at most 50 (``longest=50``). Aphrodite penalises from 2 tokens on, however many are allowed, and
    looks at few places: ``least=2, longest=13, occurrences=8, enough=8, penalises_breakers=True``,
    and ``room="two more"`` where it is compiled, "one or two more" in Python. exllamav2 counts how
    often the longest of all was continued, which is not modelled.

    References
    ----------
    p-e-w, "DRY: A modern repetition penalty that reliably prevents looping",
    https://github.com/oobabooga/text-generation-webui/pull/5677

    Examples
    --------
    After 0 1 2 3 0 1 a 2 would repeat two tokens and be the third:

    >>> dry(np.zeros(4), 0.8, Context(prompt=[0, 1, 2, 3, 0, 1]))
    array([ 0. ,  0. , -0.8,  0. ])
    >>> dry(np.zeros(4), 0.8, Context(prompt=[0, 1, 2, 3, 0, 1]), breakers=[0])
    array([0., 0., 0., 0.])
    """
    options = (base, allowed_length, last_n, breakers, penalises_breakers, room)
    return Dry(multiplier, *options, least, longest, occurrences, enough)(logits, context)


@dataclass(frozen=True, eq=False, repr=False)
class Dry(SparseStep):
    """The step `dry` with its values chosen.

    Examples
    --------
    >>> Dry(1.0, base=2.0)(np.zeros(3), Context(prompt=[0, 1, 2, 0, 1]))
    array([ 0.,  0., -1.])
    """

    multiplier: ArrayLike
    base: float = option(1.75, rule=Range(0), name="dry_base")
    allowed_length: int = option(2, rule=LENGTH, name="dry_allowed_length")
    last_n: int | None = option(None, rule=LENGTH)
    breakers: Sequence[int | Sequence[int]] = option(
        (), rule=TokenSequences(), name="dry_sequence_breakers"
    )
    penalises_breakers: bool = option(False)
    room: str = option("allowed", ROOM)
    least: int | None = option(None, rule=LENGTH)
    longest: int | None = option(None, rule=Range(1, integer=True))
    occurrences: int | None = option(None, rule=Range(1, integer=True))
    enough: int | None = option(None, rule=Range(1, integer=True))

    key: ClassVar[str] = "dry_multiplier"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0

    @cached_property
    def _breakers(self) -> Breakers:
        return Breakers(self.breakers)  # type: ignore[arg-type]

    def _reach(self, text: IntArray) -> int:
        """Return how long a repetition can be, -1 where there is not room enough for any."""
        after = self._breakers.after(text)
        if self.longest is not None and after is not None and after >= self.longest:
            after = None
        reach = len(text) if after is None else after
        if self.longest is not None:
            reach = min(reach, self.longest)
        more = {"allowed": 0, "more": 1, "two more": 2, "one or two more": 2 - (after is not None)}
        return reach if reach >= self.allowed_length + more[self.room] else -1

    def _repeats(self, text: IntArray) -> tuple[IntArray, IntArray]:
        """Return the tokens that would go on with a repetition, and how long each is."""
        reach = self._reach(text)
        least = max(self.allowed_length, 1) if self.least is None else self.least
        if reach < least or len(text) < 2:
            return text[:0], text[:0]
        places, lengths = continuations(text, reach, self.occurrences, self.enough)
        if least == 0:
            every = np.zeros(len(text) - 1, np.intp)
            every[places] = lengths
            places, lengths = np.arange(len(text) - 1), every
        keep = lengths >= least
        if self.breakers and not self.penalises_breakers:
            keep &= ~self._breakers.are_single(text[places + 1])
        return _longest(text[places[keep] + 1], lengths[keep])

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Penalise in place what would go on with a repetition."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        values = np.broadcast_to(self.values(batch, precision), batch).reshape(-1)
        texts = needed_context(self.key, context).texts(batch, size, last_n=self.last_n)
        rows = logits.reshape(-1, size)
        known: dict[bytes, tuple[IntArray, IntArray]] = {}  # rows may share a text
        row, token, length = [], [], []
        for i, text in enumerate(texts):
            if not values[i]:
                continue
            if text.tobytes() not in known:
                known[text.tobytes()] = self._repeats(text)
            tokens, lengths = known[text.tobytes()]
            row.append(np.full(len(tokens), i))
            token.append(tokens)
            length.append(lengths)
        if not row:
            return
        places = np.concatenate(row), np.concatenate(token)
        x = rows[places].astype(np.float64)
        exponent = np.concatenate(length) - min(self.allowed_length, 1 << 62)  # no text is as long
        with np.errstate(over="ignore"):
            penalty = values[places[0]] * self._power(exponent, precision)
            penalty = penalty.astype(precision.arithmetic).astype(np.float64)
            new = np.clip(x - penalty, -LARGEST, LARGEST)
        scatter(rows, *places, np.where(x == -np.inf, x, new))

    def unsorts(
        self, context: Context | None, batch: tuple[int, ...], vocabulary_size: int
    ) -> BoolArray:
        """Return for each row whether there was room enough for a repetition."""
        texts = needed_context(self.key, context).texts(batch, vocabulary_size, last_n=self.last_n)
        return np.array([self._has_room(text) for text in texts], bool)

    def _has_room(self, text: IntArray) -> bool:
        return len(text) > self.allowed_length and self._reach(text) >= 0

    def _power(self, exponent: IntArray, precision: Precision) -> FloatArray:
        """Return ``base ** exponent`` in float64, of a base of the precision's dtype."""
        base = precision.value(self.base)
        if base > 1.000001:
            # As far as the dtype of the arithmetic reaches.
            most = np.log(np.float64(np.finfo(precision.arithmetic).max))
            kind = precision.arithmetic
            last = int(kind(most) / kind(np.log(np.float64(kind(base)))))
            exponent = np.minimum(exponent, last)
        with np.errstate(divide="ignore"):
            return np.asarray(np.power(np.float64(base), exponent.astype(np.float64)))


def _longest(tokens: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Return each token once, with the greatest of its lengths."""
    longest = np.zeros(tokens.max(initial=-1) + 1, np.intp)
    np.maximum.at(longest, tokens, lengths + 1)
    each = np.flatnonzero(longest)
    return each, longest[each] - 1
