"""`Candidates`: the tokens of one row in an order, and what engines do to them.

Those are llama.cpp, KoboldCpp, and Ollama with its own sampler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.numerics import rounded_weights
from logitlab.steps.candidate_order.go_sorts import heap_sort, pattern_sort
from logitlab.steps.candidate_order.sorts import nucleus_sort, partial_sort, sort

__all__ = ["LIKE", "Candidates", "KoboldCandidates", "OllamaCandidates", "probabilities_of"]


class Candidates:
    """The candidates of one row in the order in which they stand, and what llama.cpp does to them.

    Everything is computed as it does: in float32, sums from left to right. Tokens that a mask or a
    bias put at ``-inf`` stand among them: they have a say in how ties are sorted, and in how many
    there are, until a truncation leaves them out.

    Parameters
    ----------
    row : ndarray of float32, shape (V,)
    min_keep : int
        How many candidates top-p, min-p, typical-p and XTC leave at least.

    Attributes
    ----------
    row : ndarray of float32, shape (V,)
        The logits.
    order : ndarray of intp
        Token ids of the candidates.
    is_sorted : bool
        Whether the most likely one is taken to stand first, and so on.
    """

    def __init__(self, row: FloatArray, min_keep: int = 0) -> None:
        self.row = row
        self.order: IntArray = np.arange(len(row))
        self.is_sorted = False
        self.min_keep = min_keep

    @property
    def values(self) -> FloatArray:
        """The logits of the candidates, in their order."""
        return self.row[self.order]

    def sort(self) -> None:
        """Sort all, unless they are taken to be sorted."""
        self.take_first(len(self.order))

    def in_front_of_the_draw(self) -> None:
        """Do what is done to them before one is drawn: nothing."""

    def take_first(self, count: int) -> None:
        """Sort so many to the front, and keep those."""
        count = min(count, len(self.order))
        self._take(np.arange(count) if self.is_sorted else partial_sort(self.values, count))

    def take_best(self) -> None:
        """Leave the first of the most likely ones its logit: a temperature of 0."""
        best = self.order[self.values.argmax()]
        masked = np.full_like(self.row, -np.inf)
        masked[best] = self.row[best]
        self.row = masked

    def take_nucleus(self, p: Any) -> None:
        """Sort as far as it takes, and keep the first that reach the mass p."""
        probs = probabilities_of(self.values)
        places = np.arange(len(probs))
        if not self.is_sorted:
            enough = lambda head: self._reach(probs[head], p) is not None  # noqa: E731
            places = nucleus_sort(self.values, enough)
        self._take(places[: self._reach(probs[places], p) or len(places)])

    def _reach(self, probs: FloatArray, p: Any) -> int | None:
        """Return how many of the first tokens reach p, or None if all of them do not."""
        reached = np.cumsum(probs, dtype=probs.dtype) >= p
        reached[: max(self.min_keep - 1, 0)] = False
        return int(reached.argmax()) + 1 if reached.any() else None

    def take_near_best(self, near: BoolArray) -> None:
        """Keep those that a mask tells to be near the best, or else the first of the sorted ones.

        Those are as many as it tells, and at least as many as are to be kept.
        """
        if self.is_sorted or near.sum() < self.min_keep:
            self.sort()  # all of them, not only as many as stay: ties fall otherwise
            count = max(int(near.sum()), min(self.min_keep, len(self.order)))
            self.take_first(count)
        else:
            self.order = self.order[near]

    def take_typical(self, p: Any) -> None:
        """Sort by the deviation of the surprise from the entropy, and keep up to beyond p.

        A probability that has vanished makes the entropy NaN, and nothing differs from anything:
        the sort then leaves an order of its own.
        """
        self.sort()
        probs = probabilities_of(self.values)
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = -_log(probs)
            deviation = np.abs(surprise - self._entropy(probs, surprise))
        if np.isnan(deviation).any():
            deviation = np.zeros_like(deviation)
        places = sort(-deviation)
        beyond = np.cumsum(probs[places], dtype=np.float32) > p
        beyond[: max(self.min_keep - 1, 0)] = False
        self._take(places[: int(beyond.argmax()) + 1 if beyond.any() else None])
        self.is_sorted = False
        self._revive()

    def _entropy(self, probs: FloatArray, surprise: FloatArray) -> Any:
        return np.cumsum(probs * surprise, dtype=np.float32)[-1]

    def take_within(self, keep: BoolArray) -> None:
        """Mask those that are too many deviations below the best: they remain candidates."""
        if len(self.order) > 1:
            self.row = self.row.copy()
            self.row[self.order[~keep]] = -np.inf

    def evenness(self) -> Any:
        """Sort, and return the entropy as a part of that of a uniform row of as many tokens."""
        self.sort()
        probs = probabilities_of(self.values)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.where(probs > 0, probs * _log(probs), np.float32(0))
        entropy = -np.cumsum(depth, dtype=np.float32)[-1]
        most = -_log(np.ones(1, np.float32) / np.float32(len(probs)))
        return entropy / most[0]

    def drop_top_choices(self, threshold: Any) -> None:
        """Leave out the first ones that reach the threshold, but for the last of them.

        What has been removed reaches a threshold of 0, and may be the one that stays.
        """
        count = self._top_choices(threshold)
        if threshold <= 0.5 and count >= 2 and len(self.order) - (count - 1) >= self.min_keep:
            self.order = self.order[count - 1 :]
            self._revive()

    def _revive(self) -> None:
        """Make a removed token that is left alone the one that is drawn, as it is there."""
        if len(self.order) == 1 and self.values[0] == -np.inf:
            self.row = np.full_like(self.row, -np.inf)
            self.row[self.order] = 0

    def _top_choices(self, threshold: Any) -> int:
        """Sort, and return how many stand in front of the first below the threshold."""
        self.sort()
        below = probabilities_of(self.values) < threshold
        return int(below.argmax()) if below.any() else len(below)

    def take_unsurprising(self, bits: Any) -> None:
        """Keep those in front of the first whose surprise is greater."""
        self.sort()
        with np.errstate(divide="ignore"):
            surprise = -np.log2(probabilities_of(self.values).astype(np.float64)).astype(np.float32)
        beyond = surprise > bits
        count = int(beyond.argmax()) if beyond.any() else len(beyond)
        self.order = self.order[: max(count, 1)]

    def take_as_many(self, count: Callable[[FloatArray], int]) -> None:
        """Sort, and keep as many of the first as their probabilities say."""
        self.sort()
        self.order = self.order[: count(probabilities_of(self.values))]

    def reshape(self, logits_of: Callable[[FloatArray], FloatArray]) -> None:
        """Make the logits what a function makes of the probabilities."""
        values = self.values
        self.row = self.row.copy()
        self.row[self.order] = np.where(
            values > -np.inf, logits_of(probabilities_of(values)), values
        )
        self.is_sorted = False

    def _take(self, places: IntArray) -> None:
        self.order, self.is_sorted = self.order[places], True


class KoboldCandidates(Candidates):
    """The candidates of one row, and what KoboldCpp does to them.

    Its samplers were llama.cpp's once. Where those sort on their own account they do so by
    ``std::sort``, and what is masked there is left out here.
    """

    def sort(self) -> None:
        """Sort all by ``std::sort``, unless they are taken to be sorted."""
        if not self.is_sorted:
            self._take(sort(self.values))

    def in_front_of_the_draw(self) -> None:
        """Sort them."""
        self.sort()

    def take_best(self) -> None:
        """Keep the first one: top-k 1."""
        self.take_first(1)

    def take_nucleus(self, p: Any) -> None:
        """Sort, and keep the first that reach the mass p."""
        self.sort()
        self._take(np.arange(self._reach(probabilities_of(self.values), p) or len(self.order)))

    def _entropy(self, probs: FloatArray, surprise: FloatArray) -> Any:
        # What has vanished is left out.
        return np.cumsum((probs * surprise)[probs > 0], dtype=np.float32)[-1]

    def take_within(self, keep: BoolArray) -> None:
        """Leave out those that are too many deviations below the best, and sort the others."""
        if len(self.order) > 1:
            self.order = self.order[keep]
            self.sort()

    def drop_top_choices(self, threshold: Any) -> None:
        """Lower the first ones that reach the threshold by 999, but for the last of them."""
        count = self._top_choices(threshold)
        if threshold <= 0.5 and count >= 2:
            self.row = self.row.copy()
            self.row[self.order[: count - 1]] -= np.float32(999)
            self.is_sorted = False

    def reshape(self, logits_of: Callable[[FloatArray], FloatArray]) -> None:
        """Sort, and make the logits what a function makes of the probabilities."""
        self.sort()
        super().reshape(logits_of)


class OllamaCandidates(Candidates):
    """The candidates of one row, and what Ollama's own sampler does to them.

    It begins with a sort, of those that top-k takes or of all, so that whatever is sorted later
    stands as the logits that it began with say.
    """

    def __init__(self, row: FloatArray, min_keep: int = 0) -> None:
        super().__init__(row, min_keep)
        self.first = row

    def take_first(self, count: int) -> None:
        """Take so many out of a heap, or sort all."""
        values = np.where(self.values > -np.inf, self.first[self.order], -np.inf)
        if self.is_sorted:
            self._take(np.arange(min(count, len(values))))
        else:
            self._take(heap_sort(values, count) if count < len(values) else pattern_sort(values))

    def take_nucleus(self, p: Any) -> None:
        """Sort, and keep the first whose mass exceeds p."""
        self.sort()
        beyond = np.cumsum(probabilities_of(self.values), dtype=np.float32) > p
        self._take(np.arange(int(beyond.argmax()) + 1 if beyond.any() else len(beyond)))

    def in_front_of_the_draw(self) -> None:
        """Sort them."""
        self.sort()


LIKE = {"llama.cpp": Candidates, "koboldcpp": KoboldCandidates, "ollama": OllamaCandidates}
"""Whose candidates they are."""


def probabilities_of(values: FloatArray) -> FloatArray:
    """Return probabilities as the engines sum them up: in float32, from left to right."""
    weight = rounded_weights(values[None])[0]
    return np.asarray(weight / np.cumsum(weight, dtype=weight.dtype)[-1])


def _log(values: FloatArray) -> FloatArray:
    # A float64 function, rounded once, is what the C library of the engine gives.
    return np.log(values.astype(np.float64)).astype(np.float32)
