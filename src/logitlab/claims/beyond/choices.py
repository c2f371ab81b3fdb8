"""Claims about the likeliest tokens: XTC, which removes them, and min_p against top_p."""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture, Source
from logitlab.claims.lab import Lab
from logitlab.claims.truth import (
    LEVEL,
    changed_bits,
    chi_square,
    entropies,
    probabilities,
    ranking,
    recorded_probs,
    survivors,
)

__all__ = ["CLAIMS"]

CLAIMS = Family()
_XTC = Source.thread("p-e-w", "oobabooga/textgen", 6335)
_NGUYEN = Source.paper("Nguyen et al.", "2407.01082")
_SCHAEFFER = Source.paper("Schaeffer et al.", "2506.13681")


def _top_choices(threshold: float) -> Any:
    """Return which tokens XTC removes from the recorded rows: all top choices but the least."""
    p = recorded_probs()
    top = p >= threshold
    return top & (p > np.where(top, p, np.inf).min(axis=-1, keepdims=True))


@CLAIMS.about(
    "xtc_probability",
    "least",
    "Of the tokens that reach the threshold all but the least likely go, so that one is left.",
    source=_XTC,
)
def _xtc_least(lab: Lab) -> Measured:
    rows = lab.rows.logits
    thresholds = [0.01, 0.05, 0.1, 0.2, 0.5]
    right, gone = 0, []
    for threshold in thresholds:
        mask = survivors(lab.logits(rows, {"xtc_probability": 1.0, "xtc_threshold": threshold}))
        removed = _top_choices(threshold)
        right += int((mask == ~removed).all(axis=-1).sum())
        gone.append(removed.sum(axis=-1))
    odd = [np.zeros(5), np.array([30.0, 0, 0]), np.array([1.0]), np.array([2.0, 2, -np.inf])]
    left = [
        int(survivors(lab.logits(row, {"xtc_probability": 1.0, "xtc_threshold": t})).sum())
        for row in odd
        for t in (0.0, 0.1, 0.5)
    ]
    cases = len(rows) * len(thresholds)
    return Measured(
        right == cases and min(left) >= 1,
        "In {right} of {cases} cases (thresholds 0.01 to 0.5) exactly these go: {most} tokens at "
        "most at 0.05, and none on {none} rows, where fewer than two reach it. Of flat, sure and "
        "single rows {left} token at least is left, even at 0.",
        {
            "right": right,
            "cases": cases,
            "most": gone[1].max(),
            "none": (gone[1] == 0).sum(),
            "left": min(left),
        },
        Picture(
            "Top choices that XTC removes, by row",
            "probability of the most likely token",
            "tokens removed",
            recorded_probs().max(axis=-1),
            {"threshold 0.05": gone[1]},
            "points",
        ),
    )


@CLAIMS.about(
    "xtc_probability",
    "coin",
    "It acts on each token with the probability that is given.",
    source=_XTC,
)
def _xtc_coin(lab: Lab) -> Measured:
    removed = _top_choices(0.05)
    row = int(removed.sum(axis=-1).argmax())
    mass = float(recorded_probs()[row][removed[row]].sum())
    count, level, times = 2000, 1.0, []
    for q in (0.2, 0.5, 0.8):
        request = {"xtc_probability": q, "xtc_threshold": 0.05, "seed": 11}
        drawn = lab.draw(lab.rows.logits[row], request, size=count)
        times.append(int(removed[row][drawn].sum()))
        expected = np.array([mass * (1 - q), 1 - mass * (1 - q)]) * count
        level = min(level, chi_square(np.array([times[-1], count - times[-1]]), expected))
    return Measured(
        level > LEVEL,
        "Top choices that hold {mass:.0%} of the probability are drawn {low:.0%}, {half:.0%} and "
        "{high:.0%} of the time at 0.2, 0.5 and 0.8 ({count} draws each, chi-square tests, "
        "p ≥ {level:.2f}): as much less as the coin acts.",
        {
            "mass": mass,
            "low": times[0] / count,
            "half": times[1] / count,
            "high": times[2] / count,
            "count": count,
            "level": level,
        },
    )


@CLAIMS.about(
    "xtc_probability",
    "tail",
    "The tail is left as it is, so that the text stays coherent.",
    vague="as it is among itself; what is taken from the top goes to the tail, too",
    source=_XTC,
)
def _xtc_tail(lab: Lab) -> Measured:
    rows, p = lab.rows.logits, recorded_probs()
    request = {"xtc_probability": 1.0, "xtc_threshold": 0.1}
    after = lab.logits(rows, request).astype(np.float64)
    mask, acts = survivors(after), _top_choices(0.1).any(axis=-1)
    moved = np.ma.masked_array(after - rows, ~mask)
    odds = float((moved.max(axis=-1) - moved.min(axis=-1)).max())
    tail = np.where(p < 0.001, p, 0).sum(axis=-1)[acts]
    risen = np.where(p < 0.001, probabilities(after), 0).sum(axis=-1)[acts]
    cut = probabilities(lab.logits(rows, {**request, "min_p": 0.02}))
    still = float(np.where(p < 0.001, cut, 0).sum(axis=-1)[acts].mean())
    return Measured(
        odds < 1e-4 and bool((risen > tail).all()) and still < tail.mean(),
        "The odds of any two tokens that stay are the same (to {odds:.0e}). But on the {acts} rows "
        "where it acts tokens below 0.001 hold {before:.1%} before and {after:.1%} after, on "
        "average; with a min_p of 0.02 before it {still:.1%}.",
        {
            "odds": odds,
            "acts": acts.sum(),
            "before": float(tail.mean()),
            "after": float(risen.mean()),
            "still": still,
        },
    )


@CLAIMS.about(
    "min_p",
    "heat",
    "It keeps text coherent at high temperatures, where top_p lets unlikely tokens in.",
    vague="at the values that are compared; a lower top_p keeps them out, too",
    source=_NGUYEN,
)
def _min_p_heat(lab: Lab) -> Measured:
    rows = lab.rows.logits[::2]
    unlikely = recorded_probs()[::2] < 1e-4
    temperatures = [0.5, 1.0, 1.5, 2.0]
    cuts: dict[str, dict[str, float]] = {
        "min_p 0.1": {"min_p": 0.1},
        "top_p 0.9": {"top_p": 0.9},
        "top_p 0.3": {"top_p": 0.3},
    }
    shares = {
        name: [
            float(
                (probabilities(lab.logits(rows, {"temperature": t, **cut})) * unlikely)
                .sum(-1)
                .mean()
            )
            for t in temperatures
        ]
        for name, cut in cuts.items()
    }
    last = [values[-1] for values in shares.values()]
    return Measured(
        last[0] < last[2] < 0.5 * last[1],
        "Tokens to which the model gives less than 0.0001 are drawn {min_p:.1%} of the time at "
        "temperature 2 with min_p 0.1, {top_p:.0%} with top_p 0.9, {low:.1%} with top_p 0.3; at "
        "temperature 1 it is {cool_min_p:.1%} and {cool_top_p:.1%}.",
        {
            "min_p": last[0],
            "top_p": last[1],
            "low": last[2],
            "cool_min_p": shares["min_p 0.1"][1],
            "cool_top_p": shares["top_p 0.9"][1],
        },
        Picture(
            "How often tokens below 0.0001 are drawn, mean of 10 rows",
            "temperature",
            "probability",
            temperatures,
            shares,
        ),
    )


def _mean_share(tokens: Any, logits: Any) -> float:
    """Return the probability of some tokens, on average over the rows."""
    return float((probabilities(logits) * tokens).sum(axis=-1).mean())


def _spread_and_cost(lab: Lab, rows: Any, request: Any) -> tuple[float, float]:
    """Return the mean entropy of what is left, and the mean surprise of the model at it."""
    cut = lab.logits(rows, request)
    cost = -(probabilities(cut) * np.log(recorded_probs()[::2])).sum(axis=-1)
    return float(entropies(cut).mean()), float(cost.mean())


@CLAIMS.about(
    "min_p",
    "controlled",
    "With its value chosen as carefully it is no better than top_p, or than temperature alone.",
    vague="better is what people or benchmarks say; here it is how likely the model finds the text",
    source=_SCHAEFFER,
)
def _min_p_controlled(lab: Lab) -> Measured:
    rows = lab.rows.logits[::2]
    heat = 1.5

    def measured(key: str, values: list[float], **request: float) -> Any:
        return np.array([_spread_and_cost(lab, rows, {**request, key: v}) for v in values]).T

    spread, cost = measured("min_p", [0.05, 0.1, 0.2], temperature=heat)
    top_p = measured("top_p", [0.1, 0.15, 0.2, 0.25, 0.3, 0.4], temperature=heat)
    alone = measured("temperature", [0.5, 0.6, 0.7, 0.8, 0.9])
    gain, loss = np.interp(spread, *top_p) - cost, cost - np.interp(spread, *alone)
    # On one row both are beginnings of the sorted row: whatever min_p leaves, a top_p does, too.
    cut = lab.logits(rows, {"min_p": 0.1})
    counts = survivors(cut).sum(axis=-1)
    sums = np.cumsum(np.take_along_axis(recorded_probs()[::2], ranking()[::2], axis=-1), axis=-1)
    same = sum(
        changed_bits(lab.logits(row, {"top_p": float(total[n - 1] - 1e-9)}), after) == 0
        for row, total, n, after in zip(rows, sums, counts, cut, strict=True)
    )
    return Measured(
        same == len(rows) and bool((loss > 0).all()) and bool((np.abs(gain) < 0.1).all()),
        "On {same} of {rows} rows what min_p 0.1 leaves is what some top_p leaves, to the bit. "
        "Over all rows, at temperature 1.5 and the same mean entropy, the model's surprise at "
        "what is drawn is {least:.2f} to {most:.2f} nats lower with min_p than with top_p, of "
        "{cost:.2f}; and {loss:.2f} higher than with temperature alone.",
        {
            "same": same,
            "rows": len(rows),
            "least": gain.min(),
            "most": gain.max(),
            "cost": cost[1],
            "loss": loss[1],
        },
    )
