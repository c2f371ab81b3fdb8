"""Whether what a sampler has made of a row is one of the things that it may be."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import TopK, TopP
from logitlab.testing import sentences
from logitlab.testing.bounds import bounds
from logitlab.testing.left import Floats, Left
from logitlab.testing.rounding import gamma

__all__ = ["Judge"]


class Judge:
    """The truth about one row: each method returns what is wrong, in words, or "".

    Parameters
    ----------
    chain : Chain
        As `check_chain` returns it.
    row : ndarray, shape (V,)
    context : Context or None
    arithmetic : str
    """

    def __init__(self, chain: Chain, row: Any, context: Context | None, arithmetic: str) -> None:
        self.chain, self.row, self.context = chain, row, context
        self.arithmetic = arithmetic
        self.left: Left = bounds(chain, row, context, arithmetic)
        self.size = len(self.left.logits)

    @cached_property
    def _deep(self) -> BoolArray:
        return self.left.softmax().is_deep

    @property
    def spread(self) -> float:
        """The variance of a draw's surprise, in nats squared."""
        soft = self.left.softmax()
        share, gap = soft.weight / soft.total, np.maximum(soft.gap, -1e3)
        return float(share @ gap**2 - (share @ gap) ** 2)

    @cached_property
    def _ties(self) -> str:
        """Return which of equal tokens stay, where all cuts agree."""
        rules = {
            "lowest" if isinstance(step, Temperature) else step.ties
            for step in self.chain
            if isinstance(step, TopK | TopP) or (isinstance(step, Temperature) and step.value == 0)
        }
        if isinstance(self.chain, SortedChain) or "introsort" in rules:
            return "any"
        some = rules - {"all"}
        return "all" if not some else some.pop() if len(some) == 1 else "any"

    def survivors(self, mask: BoolArray) -> str:
        """Judge which tokens are left: a mask, True for those that stay."""
        left = self.left
        if not mask.any():
            return "keeps no token"
        wrong = np.flatnonzero(mask & ~left.perhaps)
        if wrong.size:
            first = int(wrong[left.logits[wrong].argmax()])
            return sentences.kept(left, first) + sentences.others(len(wrong))
        wrong = np.flatnonzero(left.sure & ~mask & ~self._deep)
        if wrong.size:
            first = int(wrong[left.logits[wrong].argmax()])
            return sentences.dropped(left, first) + sentences.others(len(wrong))
        return self._out_of_order(mask) or self._too_many(mask)

    def _out_of_order(self, mask: BoolArray) -> str:
        """Find a token that is kept while a better one is dropped."""
        left = self.left
        gone = left.perhaps & ~mask & ~self._deep
        if not gone.any():
            return ""
        radius = left.radius(left.softmax())
        last = int(np.where(mask, left.logits + radius, np.inf).argmin())
        best = int(np.where(gone, left.logits - radius, -np.inf).argmax())
        if left.logits[best] - radius[best] > left.logits[last] + radius[last]:
            return f"keeps token {last} but drops token {best}, which is more likely"
        return "" if self._ties == "any" else self._against_the_rule(mask, gone)

    def _against_the_rule(self, mask: BoolArray, gone: BoolArray) -> str:
        """Find equal tokens of which other ones stay than the rule of ties says."""
        left = self.left
        ids = np.flatnonzero(left.perhaps)
        order = ids[np.lexsort((left.history[ids], left.logits[ids]))]
        x, history = left.logits[order], left.history[order]
        start = np.flatnonzero(np.append(True, (x[1:] != x[:-1]) | (history[1:] != history[:-1])))
        split = np.logical_or.reduceat(gone[order], start)
        split &= np.logical_or.reduceat(mask[order], start)
        for first, last in zip(start[split], np.append(start[1:], len(order))[split], strict=True):
            equal = order[first:last]
            stays, goes = equal[mask[equal]], equal[gone[equal]]
            one, other = int(stays.max()), int(goes.min())
            if self._ties == "highest":
                one, other = int(stays.min()), int(goes.max())
            told = f"keeps token {one} but drops token {other} of the same logit"
            if self._ties == "all":
                return told
            if (one > other) == (self._ties == "lowest"):
                return f"{told}, whose id is {'lower' if self._ties == 'lowest' else 'higher'}"
        return ""

    def _too_many(self, mask: BoolArray) -> str:
        """Count: where it is open which of equal tokens stay, it is not open how many."""
        if self._ties != "any":
            return ""
        counted = bounds(self.chain, self.row, self.context, self.arithmetic, counting=True)
        least = int((counted.sure & ~self._deep).sum())
        most = int(counted.perhaps.sum())
        count = int(mask.sum())
        if least <= count <= most:
            return ""
        rightly = least if least == most else f"{least} to {most}"
        return f"keeps {count} token{'s' * (count != 1)}, where {rightly} stay"

    def _broken(self, values: FloatArray) -> str:
        broken = np.flatnonzero(np.isnan(values) | (values == np.inf))
        if broken.size:
            return f"gives {values[broken[0]]} for token {int(broken[0])}"
        return ""

    def probabilities(self, values: FloatArray) -> str:
        """Judge probabilities of all tokens: none where one is removed."""
        if told := self._broken(values):
            return told
        if (values < 0).any():
            token = int(values.argmin())
            return f"gives token {token} the probability {values[token]:.6g}"
        mask = values > 0
        if told := self.survivors(mask):
            return told
        soft = self.left.softmax(mask)
        truth, wrong = soft.weight / soft.total, self._allowed(mask)
        beyond = np.abs(values - truth) - wrong * truth - 2 * self.left.arithmetic.tiny
        token = int(np.where(np.isnan(beyond), -np.inf, beyond).argmax())
        if beyond[token] > 0:
            low = f"{values[token]:.6g}", f"{truth[token]:.6g}"
            got, right = low if low[0] != low[1] else (values[token], truth[token])
            return f"gives token {token} the probability {got}, where it is {right}"
        return ""

    def _allowed(self, mask: BoolArray) -> Floats:
        """Return relative errors of probabilities, which each cut may normalise anew."""
        soft = self.left.softmax(mask)
        u = self.left.arithmetic.unit
        again = sum(1 for stage in self.left.stages) + 1
        n = int(self.left.perhaps.sum()) if not soft.ones else int((soft.gap > -1).sum())
        share = soft.error_of_probability() + again * (gamma(n, u) + 2 * u)
        return np.asarray(share / np.maximum(1 - share, 1e-300) if (share < 1).all() else share * 2)

    def logits(self, values: FloatArray) -> str:
        """Judge logits, ``-inf`` where a token is removed; a constant may be added to all."""
        if told := self._broken(values):
            return told
        mask = values > REMOVED
        if told := self.survivors(mask):
            return told
        left, u = self.left, self.left.arithmetic.unit
        soft = left.softmax(mask)
        best = int(np.where(mask, left.logits, -np.inf).argmax())
        ids = np.flatnonzero(mask)
        gap, got = soft.gap[ids] + 0.0, values[ids] - values[best]
        share = self._allowed(mask)
        wrong = left.error[ids] + left.error[best] + share[ids] + share[best]
        wrong += 4 * u * (np.abs(values[ids]) + np.abs(values[best]) + np.abs(gap))
        beyond = np.abs(got - gap) - wrong
        worst = int(beyond.argmax())
        if beyond[worst] > 0:
            token = int(ids[worst])
            return (
                f"gives token {token} a logit {0 - got[worst]:.6g} below that of token {best}, "
                f"where it is {0 - gap[worst]:.6g}"
            )
        return ""

    def drawn(self, tokens: IntArray) -> str:
        """Judge single tokens, not how often they were drawn."""
        inside = (tokens >= 0) & (tokens < self.size)
        if not inside.all():
            token = int(tokens[~inside][0])
            return f"draws token {token} of a vocabulary of {self.size}"
        wrong = tokens[~self.left.perhaps[tokens]]
        return sentences.kept(self.left, int(wrong[0]), "draws") if wrong.size else ""


REMOVED = -3e38
"""At this logit and below a token is removed: some write the lowest number of float32."""
