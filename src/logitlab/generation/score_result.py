"""What a score is: how likely each token of a text was, and which could not have been drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from logitlab.arrays import BoolArray, IntArray
from logitlab.checks import ParameterError, Seen
from logitlab.engines.rules import Note
from logitlab.sampling.logprobs import Logprobs
from logitlab.steps.chain import Chain
from numpy.typing import NDArray

__all__ = ["Likelihood", "Place", "Processed", "Removal", "Score", "columns_of"]


class Place(NamedTuple):
    """One token in one distribution: its log-probability, its rank, and the entropy of all."""

    report: Logprobs
    rank: int
    entropy: float


@dataclass(frozen=True, eq=False, repr=False)
class Likelihood:
    """How likely the tokens of a text were, each in the distribution of its place.

    Attributes
    ----------
    logprobs : ndarray of float64, shape (T,)
        In nats; ``-inf`` for a token that was removed.
    ranks : ndarray of int64, shape (T,)
        1 is the most likely token; of equal ones the lower id comes first. 0 for a token that was
        removed, which has no rank among the survivors.
    entropy : ndarray of float64, shape (T,)
        Of the distribution, in nats; NaN where there is none, because the text had ended.
    top_tokens : ndarray of int64, shape (T, n)
        The n most likely tokens of every place, as many as were asked for.
    top_logprobs : ndarray of float64, shape (T, n)
        Their log-probabilities.
    byte_count : int
        How many bytes the tokens are, as the vocabulary spells them; special ones are none.
    """

    logprobs: NDArray[np.float64]
    ranks: IntArray
    entropy: NDArray[np.float64]
    top_tokens: IntArray
    top_logprobs: NDArray[np.float64]
    byte_count: int

    @property
    def total(self) -> float:
        """Log-likelihood of the text in nats, the sum over its tokens."""
        return float(self.logprobs.sum())

    @property
    def perplexity(self) -> float:
        """``exp(-total / T)``: among how many equally likely tokens each was, on average."""
        with np.errstate(over="ignore"):  # hopeless, but no error
            return float(np.exp(-self.total / len(self.logprobs)))

    @property
    def bits_per_byte(self) -> float:
        """``-total / ln 2 / byte_count``, whatever the vocabulary; NaN where there are no bytes."""
        return -self.total / math.log(2) / self.byte_count if self.byte_count else math.nan


@dataclass(frozen=True)
class Removal:
    """Why a token of a text could not have been drawn.

    Attributes
    ----------
    position : int
        Its place in the text: token 0 is the first.
    token : int
    cause : {"step", "constraint", "ended", "model"}
        A step of the chain removed it; the constraint or structure does not let it come next; the
        text had ended before; or the model itself gives it the logit ``-inf``.
    step : int or None
        The place of the step in the chain, from 1 on.
    name : str
        The step as it prints, with the state it was in; the name of the constraint; what ended the
        text, such as "stop string"; or the model's name.
    sentence : str
        The same in words.
    """

    position: int
    token: int
    cause: Literal["step", "constraint", "ended", "model"]
    step: int | None
    name: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, eq=False, repr=False)
class Processed(Likelihood):
    """How likely the tokens of a text were under a request, at one engine.

    Attributes
    ----------
    engine : str
    removals : tuple of Removal
        One for each token that could not have been drawn, first things first.
    chain : Chain
        What was done to the logits, in each state.
    states : mapping of str to ndarray of float64, shape (T,), or None
        Where a step has a state: in which each token was judged.
    notes : tuple of Note
        What the engine ignored, changed or filled in.
    """

    engine: str
    removals: tuple[Removal, ...]
    chain: Chain
    states: Mapping[str, NDArray[np.float64]] | None
    notes: tuple[Note, ...]

    @property
    def possible(self) -> BoolArray:
        """Whether each token could have been drawn: bool, shape (T,)."""
        return np.asarray(self.logprobs > -np.inf)

    @property
    def verdict(self) -> str:
        """In a sentence: the first token that could not have been drawn, or that there is none."""
        if self.removals:
            more = len(self.removals) - 1
            rest = f" Nor could {more} more." if more else ""
            return f"{self.removals[0]}{rest}"
        count = len(self.logprobs)
        whole = f"Each of the {count} tokens" if count > 1 else "The token"
        return f"{whole} could have been drawn."


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """How likely a text was.

    Attributes
    ----------
    text : str
        What the tokens spell; special ones leave nothing in it.
    tokens : ndarray of int64, shape (T,)
        What was scored.
    prompt : ndarray of int64, shape (P,)
        The tokens before them.
    raw : Likelihood
        In the model's own distributions, before any parameter.
    engines : mapping of str to Processed
        Under the request, at each engine that takes it, in the order asked for.
    refused : mapping of str to str
        Of several engines those that do not take it, and why.
    notes : tuple of Note
        What there is to say of the text and its tokens.
    model : str
        Name of the model.
    vocabulary_size : int
        How many tokens it has: V.
    """

    text: str
    tokens: IntArray
    prompt: IntArray
    raw: Likelihood
    engines: Mapping[str, Processed]
    refused: Mapping[str, str]
    notes: tuple[Note, ...]
    model: str
    vocabulary_size: int

    @property
    def processed(self) -> Processed:
        """Under the request, where one engine was asked.

        Raises
        ------
        ParameterError
            Where there are several engines, or none that takes the request.
        """
        if len(self.engines) != 1:
            hint = "Take them by name: score.engines['vllm']."
            if not self.engines:
                hint = "Why is in score.refused."
            seen = Seen(", ".join(self.engines) or "none")
            raise ParameterError("processed", "asked for where one engine is", seen, hint)
        return next(iter(self.engines.values()))

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        count = f"{len(self.tokens)} token{'' if len(self.tokens) == 1 else 's'}"
        return f"<Score of {text!r}: {count}, perplexity {self.raw.perplexity:.4g}>"


def columns_of(places: Sequence[Place]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a `Likelihood` of a text, from the first token to the last."""
    return {
        "logprobs": np.array([place.report.logprobs for place in places], np.float64),
        "ranks": np.array([place.rank for place in places], np.int64),
        "entropy": np.array([place.entropy for place in places], np.float64),
        "top_tokens": np.stack([place.report.top_tokens for place in places]),
        "top_logprobs": np.stack([place.report.top_logprobs for place in places]),
    }
