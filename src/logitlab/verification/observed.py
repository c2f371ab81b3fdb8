"""What was learnt of the next token after a prompt, and what follows from it for any chain."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from logitlab.checks import ParameterError
from logitlab.steps.chain import Chain
from logitlab.verification.answer import Position, Token
from logitlab.verification.completion import (
    FLAT,
    MOST_BEYOND,
    NONE,
    ROWS,
    Left,
    Rest,
    completions,
    left,
    widest,
)
from logitlab.verification.envelope import cut_between, with_foreign
from numpy.typing import NDArray
from scipy.special import logsumexp

__all__ = ["ASSUMPTIONS", "Observed", "Prediction"]

_SURE = 2.5  # standard errors, by which a reported logit may be off
_OTHER = 8  # standard errors, beyond which a report is of another distribution
_ROUNDED = 0.01  # nats, as some print them
_TINY = 1e-9
BETWEEN = 0.0075  # nats by which more is possible between two temperatures a tenth apart
_COLDEST = 0.05  # a temperature below which nothing is told apart

ASSUMPTIONS: tuple[str, ...] = (
    "The answers of different requests are independent: nothing is cached.",
    "At most 1 answer in 100 comes from elsewhere than the model that was asked, a long one at a "
    "temperature from .5 to 2.",
    "The server does not change while it is examined; its neutral answers are compared at the end.",
    "Truncations keep the likeliest tokens, and no token that was not reported is likelier than "
    "the last that was, but for one: the token that was drawn may stand at the end of a list, or "
    "beyond it.",
    "Where neutral values are sent, a bound or a default moves at most one of them, or those of a "
    "combination that engines and widespread models are known by.",
    "Where a temperature that is sent is ignored, reports of what truncations have left may have "
    "been divided by one from .55 to 1, but not if another truncation is in force as well; in all "
    "other reports truncations see the temperature that is reported.",
    "Where top_p or top_a is examined in reports of what truncations have left, the only other "
    "truncation that may be in force at neutral values is top_p, unless it shortens a report.",
    "A parameter whose neutral value is refused is neutral where it is left out.",
    "Of repetition_penalty: raw logits are 6 to 40 above the log-probabilities, and tokens of a "
    "template stand there at most 4 times.",
    "Clamped temperatures are moved to a least one from .05 to 2, or to a greatest from .05 to 2.",
    "Clamps are monotone: a value that is used proves all between it and the neutral one.",
    "Noise from request to request is normal, with the scatter that was seen in the reports of "
    "repeated requests, and shifts each mean by at most 2.5 standard errors; if an answer brings "
    "its own raw log-probabilities, these are taken, and nothing is assumed of the noise.",
)
"""What every statement of a race rests on, beside its error."""


class Prediction(NamedTuple):
    """What is expected of the next token, over the reported tokens and the rest.

    Attributes
    ----------
    central, envelope : ndarray, shape (..., K + 1)
        Foreign answers included.
    among, among_envelope : ndarray, shape (..., K)
        The same, given that the token is one of the K: nothing of the rest enters.
    share : ndarray, shape (...)
        How likely that is in the middle.
    """

    central: NDArray[np.float64]
    envelope: NDArray[np.float64]
    among: NDArray[np.float64]
    among_envelope: NDArray[np.float64]
    share: NDArray[np.float64]


@dataclass(eq=False)
class Observed:
    """The K likeliest tokens after a prompt with their log-probabilities, and a lumped rest.

    Attributes
    ----------
    prompt : str
    tokens : tuple of bytes or str
        The likeliest first.
    logprobs : ndarray, shape (K,)
        In nats: the mean over the replies.
    replies : int
        How many neutral answers it was learnt from.
    sigma : float
        The scatter of a log-probability from request to request, in nats.
    vocabulary : int
        The most tokens that the vocabulary may have.

    Examples
    --------
    >>> told = {"yes": math.log(0.6), "no": math.log(0.3)}
    >>> seen = Observed.of("Is it?", [told])
    >>> seen.probabilities.round(3)
    array([0.6, 0.3, 0.1])
    >>> seen.category("no"), seen.category("perhaps")
    (1, 2)
    """

    prompt: str
    tokens: tuple[Token, ...]
    logprobs: NDArray[np.float64]
    replies: int = 1
    sigma: float = 0.0
    vocabulary: int = 200_000
    _places: dict[Hashable, int] = field(init=False, repr=False)
    # What chains leave of it, by steps and values, as far as it was asked for.
    known: dict[Hashable, int] = field(init=False, repr=False, default_factory=dict)
    kept: Left | None = field(init=False, repr=False, default=None)
    _owns: dict[int, tuple[Position, Observed | None]] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        order = np.argsort(-np.asarray(self.logprobs), kind="stable")
        if not len(order) or len(order) != len(self.tokens):
            rule = "as many log-probabilities as tokens, and at least one"
            raise ParameterError("logprobs", rule, list(self.logprobs))
        tokens = tuple(self.tokens[place] for place in order)
        sorted_ = np.minimum(np.asarray(self.logprobs, np.float64)[order], 0)
        self.tokens = tokens
        self.logprobs = sorted_ - max(0.0, float(np.logaddexp.reduce(sorted_)))
        self._places = {token: place for place, token in enumerate(tokens)}

    @classmethod
    def of(
        cls, prompt: str, told: Sequence[Mapping[Token, float]], **more: float | int
    ) -> Observed:
        """Return what several reports of the same distribution say, over the tokens of all."""
        common = [token for token in told[0] if all(token in each for each in told)]
        mean = np.mean([[each[token] for token in common] for each in told], axis=0)
        return cls(prompt, tuple(common), mean, len(told), **more)  # type: ignore[arg-type]

    @property
    def reported(self) -> int:
        """K."""
        return len(self.tokens)

    @property
    def rest(self) -> float:
        """The probability of the tokens that were not reported."""
        return max(1 - float(np.exp(self.logprobs).sum()), _TINY)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The neutral distribution over the K tokens and the rest."""
        found = np.append(np.exp(self.logprobs), self.rest)
        return np.asarray(found / found.sum())

    @property
    def entropy(self) -> float:
        """In nats, the rest counted as one token."""
        return float(-(self.probabilities * np.log(self.probabilities)).sum())

    @property
    def is_too_flat(self) -> bool:
        """Whether the rest needs more tokens than are completed."""
        return self.rest > MOST_BEYOND * math.exp(self.logprobs[-1])

    @property
    def doubt(self) -> float:
        """By how much a reported log-probability may be off, in nats."""
        return _SURE * self.sigma / math.sqrt(self.replies)

    def category(self, token: Token) -> int:
        """Return the place of a token, K for every other one."""
        return self._places.get(token, self.reported)

    def drawn(self, position: Position | None, own: Observed | None = None) -> int:
        """Return the category of the first token of an answer.

        A token without a report is half a character or a mark, and so one of the rest.
        """
        if position is None or (own is not None and position.token not in own.tokens):
            return self.reported
        return self.category(position.token)

    def own(self, position: Position | None) -> Observed | None:
        """Return what an answer to this prompt itself reports; None where nothing scatters.

        It is remembered, since neutral answers are taken in by many races.
        """
        if position is None or not self.sigma:
            return None
        if id(position) not in self._owns:
            self._owns[id(position)] = position, self.narrowed(position.likeliest())
        return self._owns[id(position)][1]

    def narrowed(self, told: Mapping[Token, float]) -> Observed | None:
        """Return what an answer's own report says, over as many of these tokens as it begins with.

        What is told has to be the likeliest tokens, see `Position.likeliest`. The draw came from
        the very distribution of the report, so it has no noise. None if they have nothing in
        common, or if more than noise lies between: then the report is of what parameters that were
        sent have made of it.
        """
        if 2 * len(told) < self.reported:
            return None
        own = sorted(told, key=lambda token: -told[token])
        known = 0
        while known < len(own) and own[known] in self._places:
            known += 1
        if not known:
            return None
        probabilities = np.array([told[token] for token in own[:known]])
        moved = probabilities - self.logprobs[[self._places[token] for token in own[:known]]]
        if np.ptp(moved) > 2 * _OTHER * math.hypot(self.sigma, self.doubt) + _ROUNDED:
            return None
        return replace(
            self, tokens=tuple(own[:known]), logprobs=probabilities, replies=1, sigma=0.0
        )

    def spread(self, found: NDArray[np.float64], over: Observed) -> NDArray[np.float64]:
        """Return an array over this object's K + 1 (or K) categories, spread over another's."""
        whole = found.shape[-1] > self.reported
        result = np.zeros((*found.shape[:-1], over.reported + whole))
        places = [over.category(token) for token in self.tokens]
        result[..., places] = found[..., : self.reported]
        if whole:
            result[..., -1] = found[..., -1]
        return result

    @cached_property
    def completions(self) -> NDArray[np.float64]:
        """Rows that agree with what was reported, shape (5 or 21, K + …)."""
        # Where a token is near a cut, what was learnt may be off by the doubt on either side.
        return completions(self.logprobs, self.rest, math.hypot(self.sigma, 2 * self.doubt))

    @property
    def last(self) -> float:
        """How likely the last of the K is, relative to the first."""
        return math.exp(self.logprobs[-1] - self.logprobs[0])

    def left(self, chain: Chain, temperature: NDArray[np.float64], rests: Sequence[Rest]) -> Left:
        """Return what N chains leave, given as one chain whose values have the shape (N, 1)."""
        rows = self.completions
        places = np.arange(len(rows))
        if not any(rest.vanishes for rest in rests):
            # The last two of the completed rows do not count then.
            places[NONE:ROWS] = 0
        used, back = np.unique(places, return_inverse=True)
        many = np.broadcast_to(rows[used], (len(rests), len(used), rows.shape[-1]))
        final = np.asarray(chain(many), np.float64)[:, back]
        opens = np.array([rest.opens for rest in rests])
        wide, is_widest = widest(self.logprobs, self.rest, opens, self.vocabulary)
        if is_widest.any():
            flat = np.asarray(chain(wide), np.float64)[is_widest, 0]
            final[is_widest, FLAT, : self.reported] = flat[:, : self.reported]
            # Of what is beyond only the mass counts.
            final[is_widest, FLAT, self.reported :] = -np.inf
            final[is_widest, FLAT, self.reported] = logsumexp(flat[:, self.reported :], axis=-1)
        return left(final, rows, self.reported, temperature, rests, is_widest, self.vocabulary)

    def predict(self, chains: Sequence[Chain], temperatures: Sequence[float]) -> Prediction:
        """Return what is expected if one of several chains is applied; the first is the centre.

        Parameters
        ----------
        chains : sequence of Chain
        temperatures : sequence of float
            The temperature in each of them, 1 if there is none.

        Examples
        --------
        >>> from logitlab import Chain, TopK
        >>> seen = Observed("Is it?", ("yes", "no"), np.log([0.6, 0.3]))
        >>> seen.predict([Chain(TopK(1))], [1.0]).central.round(3)
        array([0.996, 0.003, 0.001])
        """
        parts = [
            self.left(
                chain,
                np.array([float(temperature)]),
                [Rest.after(chain.without_neutral(), self.reported, self.last)],
            )
            for chain, temperature in zip(chains, temperatures, strict=True)
        ]
        found = self.prediction(
            Left.stacked(parts),
            np.array(temperatures, np.float64),
            [[n] for n in range(len(parts))],
            [range(len(parts))],
            [0],
        )
        return Prediction(*(each[0] for each in found))

    def prediction(
        self,
        several: Left,
        temperature: NDArray[np.float64],
        groups: Sequence[Sequence[int]],
        hypotheses: Sequence[Sequence[int]],
        centres: Sequence[int],
    ) -> Prediction:
        """Return what hypotheses expect of which N chains are known.

        Parameters
        ----------
        several : Left
            What N chains leave.
        temperature : ndarray, shape (N,)
        groups : sequence of sequence of int
            Chains between which a cut may lie: the ends of an interval of values, or the orders
            in which steps may be applied.
        hypotheses : sequence of sequence of int
            The groups that each of H hypotheses allows.
        centres : sequence of int
            The chain that each bets on.
        """
        members, group = _joined(groups)
        least = np.minimum.reduceat(several.least[members], group.starts)
        most = np.maximum.reduceat(several.most[members], group.starts)
        low = np.minimum.reduceat(several.low[members], group.starts)
        high = np.maximum.reduceat(several.high[members], group.starts)
        weight, other = several.weight[members], several.other[members]
        among = cut_between(weight, least[group.of], most[group.of])
        bound = np.maximum(among * (1 - low[group.of])[:, None], other[:, :-1])
        ahead = np.maximum(several.central[members, :-1].sum(axis=-1, keepdims=True), _TINY)
        among = np.maximum(among, other[:, :-1] / ahead)
        heat = temperature[members]
        low_heat, high_heat = (end.reduceat(heat, group.starts) for end in (np.minimum, np.maximum))
        slack = 2 * self.doubt / np.clip(heat, _COLDEST, 1)
        slack = np.exp(slack + BETWEEN * (high_heat > low_heat)[group.of])[:, None]
        bound = np.concatenate([bound, np.maximum(high[group.of], other[:, -1])[:, None]], axis=-1)
        allowed, hypothesis = _joined(hypotheses)
        tops = np.maximum.reduceat(among * slack, group.starts)[allowed]
        tops = np.minimum(1, np.maximum.reduceat(tops, hypothesis.starts))
        full = np.maximum.reduceat(bound * slack, group.starts)[allowed]
        full = np.minimum(1, np.maximum.reduceat(full, hypothesis.starts))

        central = several.central[list(centres)]
        inside = central[:, :-1].sum(axis=-1, keepdims=True)
        neutral = self.probabilities
        known = neutral[:-1] / neutral[:-1].sum()
        given = np.where(inside > _TINY, central[:, :-1] / np.maximum(inside, _TINY), known)
        # A bet may not be above its own envelope, which rounding can do.
        full, tops = np.maximum(full, central), np.maximum(tops, given)
        return Prediction(
            *with_foreign(central, full, neutral), *with_foreign(given, tops, known), inside[:, 0]
        )


class _Segments(NamedTuple):
    starts: NDArray[np.intp]
    of: NDArray[np.intp]


def _joined(parts: Sequence[Sequence[int]]) -> tuple[NDArray[np.intp], _Segments]:
    """Return sequences as one, where each starts, and which each element is of."""
    sizes = np.array([len(part) for part in parts], np.intp)
    whole = np.fromiter((each for part in parts for each in part), np.intp, sizes.sum())
    return whole, _Segments(np.cumsum(sizes) - sizes, np.repeat(np.arange(len(sizes)), sizes))
