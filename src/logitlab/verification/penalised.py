r"""What penalties make of the places of an answer: central predictions and envelopes.

Of a place the raw row is reported, up to a constant: of tokens ``i`` with log-probabilities
``x_i``, of which a scope counts ``n_i``, the next one is drawn from

    softmax(chain(penalty(x + c, n)))_i  /  the same of all tokens that are reported

given that it is among them, which is exact whatever lies beyond the report, as long as ``chain``
is a temperature. Truncations keep the likeliest tokens, and never fewer of these than if nothing
lay beyond: envelopes allow any number from there on, see `envelope.cut_between`.

Frequency and presence do not depend on ``c``; repetition depends on the sign of ``x + c``: the
constant is a nuisance, and the envelope is the largest over all it may be.

Where it is not known whether a token of a template is counted, the envelope of each token is that
of the best case for it and the worst for all others: a softmax rises in its own logit, and falls in
those of others. If n tokens are kept at least, those beside it weigh at least what the n - 1
likeliest others weigh at their worst.

Where a value may be any of a span, logits are linear in it, or in its inverse where it divides, and
so log-probabilities are concave: some values bound those between, see `envelope.ceilings`. As many
are kept as by truncations that are stronger by what a logit moves from one to the next; a negative
logit, which is multiplied, is bounded on both sides over all of the span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from logitlab.verification.envelope import ceilings
from logitlab.verification.in_force import in_force
from logitlab.verification.places import Floats, Place
from logitlab.verification.rules import Setting, Span
from logitlab.verification.scopes import Counted
from logitlab.verification.settings import temperatures
from logitlab.verification.study import Study
from numpy.typing import NDArray

__all__ = ["FORMS", "After", "Told", "backgrounds", "penalty"]

After = Sequence[tuple[float, Sequence[Chain]]]

FORMS = {
    "frequency_penalty": ("count", "presence"),  # KoboldCpp uses it as the other
    "presence_penalty": ("presence",),
    "repetition_penalty": ("repetition",),
}
_STEPS: dict[str, type[Step]] = {
    "count": FrequencyPenalty,
    "presence": PresencePenalty,
    "repetition": RepetitionPenalty,
}
_CUTS: dict[str, Any] = {"top_k": TopK, "min_p": MinP, "top_p": TopP, "top_a": TopA}
_RISING = ("min_p", "top_a")  # of which a larger value cuts more
_ROUNDED = 1.001  # as reports are
_TRIED = 1.01  # where only some temperatures of a span are tried
_POINTS = 7  # values of a span that are tried
_TINY = 1e-300
# Constants between log-probabilities and raw logits: none, or from 6 to 40. Where no logit changes
# its sign, a token is likeliest at one of the ends.
_GRID = np.array([0.0, 6.0, 8.0, 12.0, 16.0, 22.0, 28.0, 40.0])


def penalty(form: str, value: float) -> Step:
    """Return the step of a penalty in one of the forms in which engines use it."""
    return _STEPS[form](value, scope="output")  # type: ignore[call-arg]


@dataclass(frozen=True)
class Told:
    """The places of an answer as an array, and what they become.

    Parameters
    ----------
    places : sequence of Place
    after : sequence of (float, sequence of Chain)
        What may follow the penalties, the most likely first: temperatures, each with the chains
        that may truncate, with it among them.

    Examples
    --------
    >>> place = Place((b"a", b"b"), np.log([0.5, 0.25]), 0, (b"a",))
    >>> once = Counted(np.array([1, 0]), np.array([1, 0]))
    >>> told = Told([place])
    >>> central, envelope = told.predict("count", 1.0, [once])
    >>> central[0].round(3).tolist(), bool((envelope >= central).all())
    ([0.424, 0.576], True)
    """

    places: Sequence[Place]
    after: After = ((1.0, ()),)
    _known: dict[tuple[object, ...], tuple[Floats, Floats]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _written: dict[bytes, Context] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def rows(self) -> Floats:
        """The reports, shape (places, K): shorter ones go on with minus infinity."""
        longest = max(len(place.tokens) for place in self.places)
        rows = np.full((len(self.places), longest), -np.inf)
        for row, place in zip(rows, self.places, strict=True):
            row[: len(place.tokens)] = place.logprobs
        return rows

    def predict(
        self,
        form: str,
        value: float,
        counts: Sequence[Counted],
        shifts: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[Floats, Floats]:
        """Return what is drawn at each place if a penalty has a value, and counts so.

        Parameters
        ----------
        form : str
            One of `FORMS`.
        value : float
        counts : sequence of Counted
            One for each place.
        shifts : pair of float
            The least and the most that raw logits may be above the log-probabilities; of
            repetition alone.

        Returns
        -------
        central : ndarray, shape (places, K)
            Of the tokens of each place among themselves.
        envelope : ndarray, shape (backgrounds, places, K)
            The most that each may have, in front of each background.
        """
        least, most = self.padded(counts)
        known = (form, value, least.tobytes(), most.tobytes())
        if known not in self._known:
            self._known[known] = self._predict(form, value, least, most)
        central, envelope = self._known[known]
        if form != "repetition":
            return central[0], envelope[:, 0]
        inside = self._inside(shifts)
        mean = np.where(inside, central, 0).sum(axis=0) / inside.sum(axis=0)
        return mean, np.where(inside, envelope, 0).max(axis=1)

    def between(
        self,
        form: str,
        span: Span,
        counts: Sequence[Counted],
        shifts: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[Floats, Floats]:
        """Return the same if a penalty has any value of a span, on one side of the neutral one.

        Returns
        -------
        central : ndarray, shape (places, K)
            Of the middle of the span.
        envelope : ndarray, shape (parts of the span * backgrounds, places, K)
            The most that each may have, by the part that the value is in and the background.
        """
        least, most = self.padded(counts)
        known = (form, span, least.tobytes(), most.tobytes())
        if known not in self._known:
            self._known[known] = self._between(form, span, least, most), np.empty(0)
        envelope = self._known[known][0]
        central, _ = self.predict(form, (span[0] + span[1]) / 2, counts, shifts)
        if form == "repetition":
            inside = self._inside(shifts)
            return central, np.where(inside, envelope, 0).max(axis=1)
        return central, envelope[:, 0]

    def _inside(self, shifts: tuple[float, float]) -> NDArray[np.bool_]:
        """Return which of the constants are within a range, shape (shifts, places, 1)."""
        return ((self._shifts >= shifts[0]) & (self._shifts <= shifts[1]))[..., None]

    @cached_property
    def _shifts(self) -> Floats:
        """The constants that are tried, shape (shifts, places).

        Logits are linear in the constant between those at which one of them changes its sign, and
        log-probabilities concave, so that these and a coarse grid have the largest.
        """
        grid = np.broadcast_to(_GRID[:, None], (len(_GRID), len(self.rows)))
        signs = np.where(np.isfinite(self.rows), -self.rows, 0).T
        some = ((signs > _GRID[1]) & (signs < _GRID[-1])).any(axis=1)
        return np.concatenate([grid, signs[some]])

    def padded(self, counts: Sequence[Counted]) -> NDArray[np.int64]:
        """Return the bounds of counts as an array, shape (2, places, K)."""
        bounds = np.zeros((2, *self.rows.shape), np.int64)
        for n, count in enumerate(counts):
            bounds[0, n, : len(count.least)] = count.least
            bounds[1, n, : len(count.most)] = count.most
        return bounds

    def _predict(
        self, form: str, value: float, least: NDArray[np.int64], most: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Return both for each shift, shapes (..., shifts, places, K)."""
        step = penalty(form, value)
        shifts = self._shifts if form == "repetition" else np.zeros((1, len(self.places)))
        few = self.penalised(step, least, shifts)
        is_known = least == most
        several = [few] if is_known.all() else [few, self.penalised(step, most, shifts)]
        worst, best = np.min(several, axis=0), np.max(several, axis=0)
        reach = _apart(worst, best)
        central, envelopes = self._centre(several), []
        for temperature, cuts in self.after:
            cold, warm = (_run(_heat(temperature), rows) for rows in (worst, best))
            cutting = [chain for chain in cuts if _cuts(chain)]
            if is_known.all() and not cutting:
                envelopes.append(np.nan_to_num(_shares(cold)))
                continue
            kept = np.full(few.shape[:-1], few.shape[-1])
            for chain in cutting:
                strong = _stronger(chain, reach / min(1.0, temperature))
                kept = np.minimum(kept, np.isfinite(_run(strong, few)).sum(axis=-1))
            envelopes.append(_largest(cold, warm, np.maximum(kept, 1), is_known))
        # The centre is of the first.
        envelopes[0] = np.maximum(envelopes[0], central)
        slack = _ROUNDED if len(self.after) == 1 else _TRIED
        return central, np.minimum(1, np.array(envelopes) * slack)

    def _between(
        self, form: str, span: Span, least: NDArray[np.int64], most: NDArray[np.int64]
    ) -> Floats:
        """Return the envelope of a span, shape (parts * backgrounds, shifts, places, K)."""
        is_inverse = form == "repetition"
        low, high = (1 / end if is_inverse else end for end in span)
        even = np.linspace(low, high, _POINTS)
        values = 1 / even if is_inverse else even
        shifts = self._shifts if is_inverse else np.zeros((1, len(self.places)))
        few, many = (
            np.stack([self.penalised(penalty(form, float(x)), bound, shifts) for x in values])
            for bound in (least, most)
        )
        worst, best = np.minimum(few, many), np.maximum(few, many)
        if is_inverse:
            is_curved = self.rows + shifts[..., None] < 0
            worst = np.where(is_curved, worst.min(axis=0), worst)
            best = np.where(is_curved, best.max(axis=0), best)
        # Logits move together from one value to the next, and each apart from others by counts.
        both = np.stack([few, many])
        reach = _apart(both[:, :-1], both[:, 1:]).max(axis=(0, 1)) + _apart(worst, best).max(axis=0)
        nothing = np.zeros(worst.shape[-1], bool)
        envelopes = []
        for temperature, cuts in self.after:
            cold, warm = (_run(_heat(temperature), rows) for rows in (worst, best))
            kept = np.full(few.shape[:-1], few.shape[-1])
            for chain in filter(_cuts, cuts):
                strong = _stronger(chain, reach / min(1.0, temperature))
                count = np.stack([np.isfinite(_run(strong, each)).sum(-1) for each in few])
                kept = np.minimum(kept, count.min(axis=0))
            found = _largest(cold, warm, np.maximum(kept, 1), nothing)
            envelopes.append(np.exp(ceilings(np.log(np.maximum(found, _TINY)))))
        slack = _ROUNDED if len(self.after) == 1 else _TRIED
        return np.minimum(1, np.concatenate(envelopes) * slack)

    def _centre(self, several: Sequence[Floats]) -> Floats:
        """Return the mean of what rows become after the first background."""
        temperature, cuts = self.after[0]
        chain = cuts[0] if cuts else _heat(temperature)
        found = np.mean([_shares(_run(chain, rows)) for rows in several], axis=0)
        centre: Floats = np.nan_to_num(found, nan=1 / found.shape[-1])
        return centre

    def penalised(self, step: Step, counts: NDArray[np.int64], shifts: Floats) -> Floats:
        """Return the rows with each shift, penalised; shape (shifts, places, K)."""
        key = counts.tobytes()
        if key not in self._written:
            lengths = counts.sum(axis=1)
            written = np.full((len(counts), max(int(lengths.max()), 1)), -1)
            tokens = np.arange(counts.shape[1])
            for row, count, length in zip(written, counts, lengths, strict=True):
                row[:length] = np.repeat(tokens, count)
            self._written[key] = Context(output=written)
        raised = self.rows + shifts[..., None]
        return np.asarray(step(raised, self._written[key]), float) - shifts[..., None]


def _run(chain: Chain, rows: Floats) -> Floats:
    return np.asarray(chain(rows), float) if len(chain) else rows


def _heat(temperature: float) -> Chain:
    return Chain() if temperature == 1 else Chain(Temperature(temperature))


def _cuts(chain: Chain) -> bool:
    return any(not isinstance(step, Temperature) for step in chain)


def _apart(one: Floats, other: Floats) -> Floats:
    """Return how far logits are apart at most, where they are any."""
    with np.errstate(invalid="ignore"):
        found: Floats = np.nan_to_num(np.abs(other - one)).max(axis=-1)
    return found


def _stronger(chain: Chain, reach: Floats) -> Chain:
    """Return truncations that keep no more than these, where logits have moved so far apart.

    Shares of sets are then as many times larger or smaller, at most.
    """
    kinds: dict[type, Any] = {
        TopP: lambda value: value * np.exp(-reach),
        MinP: lambda value: np.minimum(1, value * np.exp(reach)),
        TopA: lambda value: np.minimum(1, value * np.exp(3 * reach)),
    }
    return Chain(
        *(
            type(step)(kinds[type(step)](step.value)) if type(step) in kinds else step  # type: ignore[attr-defined, call-arg]
            for step in chain
        )
    )


def _shares(rows: Floats) -> Floats:
    """Return the probabilities of the tokens of rows among themselves; NaN where none is left."""
    with np.errstate(invalid="ignore"):
        weights = np.exp(rows - rows.max(axis=-1, keepdims=True))
        shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _largest(
    worst: Floats, best: Floats, kept: NDArray[np.int64], is_known: NDArray[np.bool_]
) -> Floats:
    """Return the most that each token can have if so many of the likeliest are kept, or more.

    Parameters
    ----------
    worst, best : ndarray, shape (..., K)
        Between which the logits lie.
    kept : ndarray of int, shape (...)
    is_known : ndarray of bool, shape (..., K)
        Where both are the same: whatever is likelier then is kept beside it, too.
    """
    top = best.max(axis=-1, keepdims=True)
    least, most = np.exp(worst - top), np.exp(best - top)
    order = np.argsort(-least, axis=-1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), -1)
    sums = np.cumsum(np.take_along_axis(least, order, axis=-1), axis=-1)
    count = np.maximum(kept[..., None], np.where(is_known, place + 1, 1))
    is_ahead = place < count
    # Of as many, one is the token itself.
    among = np.take_along_axis(sums, np.where(is_ahead, count - 1, np.maximum(count - 2, 0)), -1)
    beside = np.where(is_ahead, among - least, np.where(count > 1, among, 0))
    with np.errstate(invalid="ignore"):
        found: Floats = most / (most + np.maximum(beside, 0))
    found[np.isnan(found)] = 0.0
    return found


def backgrounds(
    study: Study, sent: Mapping[str, float] = MappingProxyType({})
) -> list[tuple[float, list[Chain]]]:
    """Return what may follow a penalty: the backgrounds that are left, the most likely first.

    Parameters
    ----------
    study : Study
    sent : mapping of str to float
        What is sent beside it, and certain.

    Returns
    -------
    list of (float, list of Chain)
        As `Told` takes it; empty if all that is known was refuted.
    """
    found: dict[float, list[Setting]] = {}
    certain = {key: (value, value) for key, value in sent.items()}
    for setting in ({**each, **certain} for each in in_force(study, *sent)):
        cuts = {key: span for key, span in setting.items() if key != "temperature"}
        for temperature in temperatures(setting.get("temperature", (1.0, 1.0))):
            found.setdefault(temperature, []).append(cuts)
    return [
        (temperature, [_chain(temperature, cuts) for cuts in _strongest(several)])
        for temperature, several in found.items()
    ]


def _strongest(several: Sequence[Setting]) -> list[Mapping[str, float]]:
    """Return cuts as strong as they may be: the first, and those that none other is beyond."""
    ends = [
        {key: (max if key in _RISING else min)(span) for key, span in cuts.items()}
        for cuts in several
    ]
    found = {tuple(sorted(ends[0].items())): ends[0]}
    for one in ends:
        if not any(_is_within(one, other) for other in ends if other != one):
            found[tuple(sorted(one.items()))] = one
    return list(found.values())


def _is_within(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether cuts keep whatever others keep."""
    return all(
        key in other and (other[key] >= value if key in _RISING else other[key] <= value)
        for key, value in one.items()
    )


def _chain(temperature: float, cuts: Mapping[str, float]) -> Chain:
    """Return cuts in the order in which they keep fewest.

    A temperature below 1 makes more of the likeliest, and so do cuts for those after them.
    """
    steps = [
        step(int(cuts[key]) if key == "top_k" else cuts[key])
        for key, step in _CUTS.items()
        if key in cuts
    ]
    heat = _heat(temperature)
    return Chain(*heat, *steps) if temperature < 1 else Chain(*steps, *heat)
