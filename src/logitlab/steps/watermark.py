"""The watermark of Kirchenbauer et al.: a bias on tokens that the ones before choose; a detector.

Which tokens are green is a permutation of the vocabulary, drawn by torch on a CPU from a seed: an
mt19937, and for place i the word modulo what is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import ParameterError, Range, Seen, check_flag, check_integer
from logitlab.draw import mt19937
from logitlab.numerics import DOUBLE, Precision, scatter
from logitlab.steps.candidate_order.sorts import sort
from logitlab.steps.context import Context, needed_context
from logitlab.steps.step import SparseStep, Words, option
from logitlab.steps.truncation import TIES
from numpy.typing import ArrayLike

__all__ = ["Watermark", "WatermarkEvidence", "detect_watermark", "watermark"]

SCHEMES = {
    "lefthash": Words("the last token", "seeds the green list with the last token"),
    "selfhash": Words("the token itself", "seeds the green list with the token itself, too"),
}

_TABLE = 1_000_003
_CANDIDATES = 40  # the authors' number, to save time
_KEYS = Range(0, (1 << 63) - 1, integer=True)
_WIDTHS = Range(1, 1 << 20, integer=True)
_SIZES = Range(1, (1 << 31) - 1, integer=True)


def watermark(
    logits: ArrayLike,
    bias: ArrayLike,
    context: Context | None,
    *,
    greenlist_ratio: float = 0.25,
    hashing_key: int = 15485863,
    seeding_scheme: str = "lefthash",
    context_width: int = 1,
) -> FloatArray:
    """Add a bias to the green tokens, a part of the vocabulary that the tokens before choose.

    Of a permutation of all V tokens the first ``int(V greenlist_ratio)`` are green; its seed is
    ``hashing_key`` times the last token. So a text has more green tokens than chance gives, which
    `detect_watermark` finds without the model.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    bias : array_like, broadcasting to the batch shape (...)
        What is added, any finite number. 0 changes nothing.
    context : Context
        The tokens so far. A row with less than ``context_width`` of them stays as it is.
    greenlist_ratio : float
        In [0, 1].
    hashing_key : int
        The secret, at least 0.
    seeding_scheme : {"lefthash", "selfhash"}
        "selfhash" lets a token choose, together with those before it, whether it is green: of the
        40 most likely ones each is looked at with the seed ``min(hashing_key a_i b)`` over the last
        ``context_width`` tokens, the token itself among them, where a and b are places in a
        permutation of a million, b that of the token.
    context_width : int
        How many tokens "selfhash" looks at; at least 1.

    Returns
    -------
    ndarray, shape (..., V)
        Removed tokens stay removed.

    Raises
    ------
    ParameterError
        If a value is out of its range, the bias does not broadcast, or there is no context.

    Notes
    -----
    The tokens are those of transformers and TGI on a CPU; on a GPU torch permutes otherwise. TGI
    applies it first, with a ratio of 0.5. transformers stops at an error where "selfhash" finds
    none of the 40 green, or V is less than 40.

    References
    ----------
    J. Kirchenbauer et al., "A Watermark for Large Language Models", ICML 2023,
    https://arxiv.org/abs/2301.10226; "On the Reliability of Watermarks for Large Language Models",
    2023, https://arxiv.org/abs/2306.04634

    Examples
    --------
    >>> watermark(np.zeros(8), 2.0, Context(output=[1]))
    array([0., 0., 2., 0., 0., 0., 2., 0.])
    """
    step = Watermark(bias, greenlist_ratio, hashing_key, seeding_scheme, context_width)
    return step(logits, context)


@dataclass(frozen=True, eq=False, repr=False)
class Watermark(SparseStep):
    """The step `watermark` with its values chosen.

    Parameters
    ----------
    bias, greenlist_ratio, hashing_key, seeding_scheme, context_width
        As of `watermark`.
    ties : {"lowest", "introsort"}
        Which of equal tokens are among the 40 that "selfhash" looks at: those of the lowest ids,
        or those that torch's sort on a CPU leaves in front, as in transformers.

    Examples
    --------
    >>> Watermark(2.0)(np.zeros(8), Context(output=[7]))
    array([0., 2., 0., 0., 0., 0., 0., 2.])
    """

    bias: ArrayLike = 2.0
    greenlist_ratio: float = option(0.25, rule=Range(0, 1))
    hashing_key: int = option(15485863, rule=_KEYS)
    seeding_scheme: str = option("lefthash", SCHEMES)
    context_width: int = option(1, rule=_WIDTHS)
    ties: str = option("lowest", {name: TIES[name] for name in ("lowest", "introsort")})

    key: ClassVar[str] = "watermarking_config"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Add the bias in place."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        amounts = np.broadcast_to(self.values(batch, precision), batch).reshape(-1)
        rows = logits.reshape(-1, size)
        texts = needed_context(self.key, context).texts(batch, size)
        for i, (row, amount, text) in enumerate(zip(rows, amounts, texts, strict=True)):
            if not amount or len(text) < self.context_width:
                continue
            green = self.green(row, text)
            values = row[green].astype(precision.arithmetic) + amount
            scatter(rows, np.full(len(green), i), green, np.asarray(values))

    def green(self, row: FloatArray, text: IntArray) -> IntArray:
        """Return the tokens that get the bias after a text."""
        size, count = len(row), self.count(len(row))
        if self.seeding_scheme == "lefthash":
            return _permutation(self._seed(text, 0), size, count)
        first = min(_CANDIDATES, size)
        if self.ties == "introsort":
            best = sort(row)[:first]
            return np.array([t for t in best.tolist() if self.is_green(t, text, size)], np.intp)
        reached = np.partition(row, size - first)[size - first]
        best = np.flatnonzero(row >= reached)
        best = best[np.argsort(-row[best], kind="stable")[:first]]
        kept = [token for token in best.tolist() if self.is_green(token, text, size)]
        return np.array(kept, np.intp)

    def is_green(self, token: int, text: IntArray, vocabulary_size: int) -> bool:
        """Say whether a token is green after a text."""
        size = vocabulary_size
        return _is_among(self._seed(text, token), size, self.count(size), token)

    def count(self, vocabulary_size: int) -> int:
        """Return how many tokens are green."""
        return int(vocabulary_size * self.greenlist_ratio)

    @property
    def reach(self) -> int:
        """How many tokens before it a token needs to be green or not."""
        return self.context_width - (self.seeding_scheme == "selfhash")

    def _seed(self, text: IntArray, token: int) -> int:
        """Return the 32 bits that seed the green list."""
        if self.seeding_scheme == "lefthash":
            seed = self.hashing_key * int(text[-1])
        else:
            table = _permutation(self.hashing_key & 0xFFFFFFFF, _TABLE, _TABLE)
            window = [*text[len(text) - self.context_width + 1 :].tolist(), token]
            own = int(table[token % _TABLE]) + 1
            products = (self.hashing_key * (int(table[t % _TABLE]) + 1) * own for t in window)
            # In 64 bits, as torch has it.
            seed = min((x + (1 << 63)) % (1 << 64) - (1 << 63) for x in products)
        return seed % ((1 << 64) - 1) & 0xFFFFFFFF


def _targets(seed: int, size: int, count: int) -> IntArray:
    """Return with which place, itself or a later one, each of the first of a permutation swaps."""
    left = size - np.arange(count)
    return np.asarray(size - left + mt19937(seed, count) % left)


@lru_cache(maxsize=64)
def _permutation(seed: int, size: int, count: int) -> IntArray:
    """Return the first so many of a permutation of ``range(size)``.

    The swaps come one after another, but place i gets what the last swap with its partner put
    there: what stood at the place of that swap, which the last swap with that place put there, and
    so on. So swaps make chains, which are followed all at once, by doubling.
    """
    partners = _targets(seed, size, count)
    # numpy sorts numbers of 16 bits by their digits, ten times as fast.
    keys = partners.astype(np.uint16) if size <= 1 << 16 else partners
    order = np.argsort(keys, kind="stable")
    same = partners[order[1:]] == partners[order[:-1]]
    before = np.full(count, -1)  # the last earlier swap with the same partner
    before[order[1:][same]] = order[:-1][same]
    last = np.full(size, -1)
    last[partners] = np.arange(count)  # of several swaps the last one counts
    earlier = last[:count]  # the last swap with a place before its own turn
    earlier = np.where(earlier == np.arange(count), before, earlier)
    first = np.where(earlier < 0, np.arange(count), earlier)
    while (first[first] != first).any():
        first = first[first]
    tokens = np.where(before < 0, partners, first[before])
    tokens.flags.writeable = False
    return tokens


def _is_among(seed: int, size: int, count: int, token: int) -> bool:
    """Say whether a token is among the first so many of a permutation, without making it.

    A token waits at its place until the swap of an earlier place takes it there, to stay, or that
    of its own place sends it to a later one.
    """
    targets = _targets(seed, size, count)
    place, time = token, 0
    while time < len(targets):
        if (targets[time : place + 1] == place).any():
            return True
        if place >= len(targets):
            break
        place, time = int(targets[place]), place + 1
    return place < count


@dataclass(frozen=True, eq=False)
class WatermarkEvidence:
    """How many tokens of a text are green, and how surprising that is without a watermark.

    Attributes
    ----------
    is_green : ndarray of bool, shape (T,)
        Of each token that counts.
    greenlist_ratio : float
        How many of all tokens are green.
    """

    is_green: BoolArray
    greenlist_ratio: float

    @property
    def green_fraction(self) -> float:
        """Which part of the tokens is green."""
        return float(self.is_green.mean())

    @property
    def z_score(self) -> float:
        """``(green - ratio T) / sqrt(T ratio (1 - ratio))``."""
        count, ratio = len(self.is_green), self.greenlist_ratio
        excess = float(self.is_green.sum()) - ratio * count
        return excess / math.sqrt(count * ratio * (1 - ratio))

    @property
    def p_value(self) -> float:
        """How likely a normal distribution is to give such a z or a larger one."""
        return 0.5 * math.erfc(self.z_score / math.sqrt(2))

    def __repr__(self) -> str:
        count, green = len(self.is_green), int(self.is_green.sum())
        return (
            f"<WatermarkEvidence: {green} of {count} tokens green, z = {self.z_score:.2f}, "
            f"p = {self.p_value:.2g}>"
        )


def detect_watermark(
    tokens: ArrayLike,
    vocabulary_size: int,
    config: Watermark | Mapping[str, Any] | None = None,
    *,
    prompt: ArrayLike = (),
    count_repeated: bool = True,
) -> WatermarkEvidence:
    """Count the green tokens of a text, and say how unlikely so many are without a watermark.

    Of T tokens of an unmarked text each is green with probability ``greenlist_ratio``, so that
    ``z = (green - ratio T) / sqrt(T ratio (1 - ratio))`` is about standard normal.

    Parameters
    ----------
    tokens : array_like of int, shape (T,)
        The text.
    vocabulary_size : int
        V, that of the logits which were marked.
    config : Watermark, mapping, or None
        As it was when the text was written: a step, or a request's ``watermarking_config``.
    prompt : array_like of int, shape (P,)
        The tokens before the text, which do not count. Without them the first tokens of the text
        do not count, which have too few before them.
    count_repeated : bool
        Whether a token counts that came after the same tokens before: it is green again, so that
        repetitive text looks marked, or unmarked, by chance.

    Returns
    -------
    WatermarkEvidence
        With ``z_score``, ``p_value`` and ``green_fraction``.

    Raises
    ------
    ParameterError
        For ids outside the vocabulary, a text too short to count anything, or a ratio of 0 or 1.

    Notes
    -----
    transformers approximates the normal distribution, which makes its p-values too large by up
    to a factor; its z-scores are these.

    References
    ----------
    J. Kirchenbauer et al., "A Watermark for Large Language Models", ICML 2023, equation 3,
    https://arxiv.org/abs/2301.10226

    Examples
    --------
    >>> from logitlab import generate, models
    >>> model = models.NGram.bundled()
    >>> text = generate(model, "Once", seed=7, max_tokens=60, watermarking_config={"bias": 4})
    >>> detect_watermark(text.tokens, len(model.vocabulary), prompt=text.prompt)
    <WatermarkEvidence: 54 of 60 tokens green, z = 11.63, p = 1.5e-31>
    """
    size = check_integer("vocabulary_size", vocabulary_size, _SIZES)
    step = _step_of(config)
    ratio = step.greenlist_ratio
    if not 0 < ratio < 1:
        raise ParameterError("greenlist_ratio", "above 0 and below 1 in a text", ratio)
    rule = Range(0, size - 1, integer=True)
    parts = [np.ravel(rule.check(name, x)) for name, x in (("prompt", prompt), ("tokens", tokens))]
    for name, ids in (("prompt", prompt), ("tokens", tokens)):
        if np.ndim(ids) > 1:
            raise ParameterError(
                name, "the token ids of one text, shape (T,)", Seen(f"shape {np.shape(ids)}")
            )
    check_flag("count_repeated", count_repeated)
    text = np.concatenate([np.asarray(part, np.int64) for part in parts])
    begin = max(len(parts[0]), step.reach)
    if len(text) <= begin:
        raise ParameterError("tokens", f"more than {step.reach}", Seen(f"{len(parts[1])}"))
    answers: dict[tuple[int, ...], bool] = {}
    marks: list[bool] = []
    for place in range(begin, len(text)):
        window = tuple(text[place - step.reach : place + 1].tolist())
        is_new = window not in answers
        if is_new:
            before = np.array(window[:-1], np.int64)
            answers[window] = step.is_green(window[-1], before, size)
        if is_new or count_repeated:
            marks.append(answers[window])
    return WatermarkEvidence(np.array(marks, bool), ratio)


def _step_of(config: Watermark | Mapping[str, Any] | None) -> Watermark:
    if isinstance(config, Watermark):
        return config
    known = {"bias", "greenlist_ratio", "hashing_key", "seeding_scheme", "context_width"}
    if not isinstance(config, Mapping | None) or (config and not known.issuperset(config)):
        rule = f"a Watermark, or a map with keys among {sorted(known)}"
        raise ParameterError("config", rule, config)
    return Watermark(**(config or {}))
