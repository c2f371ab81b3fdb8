"""Claims about what is cut off: top_p, top_k, min_p and top_a."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.neutral import add_neutral
from logitlab.claims.truth import changed_bits, entropies, kept, ranked, recorded
from logitlab.engines.compare import compare_engines
from numpy.typing import NDArray

__all__ = ["CLAIMS"]

CLAIMS = Family()
Floats = NDArray[np.float64]


def _equal_sets(
    lab: Lab, key: str, values: list[float], keeps: Callable[[Floats, float], Any]
) -> tuple[int, int, Floats]:
    """Return on how many rows the survivors are those of an equation, of how many, and counts."""
    rows = lab.rows.logits
    p = recorded()
    found = [kept(lab.logits({key: value}, rows)) for value in values]
    equal = [
        (mask == keeps(p, v)).all(axis=-1).sum() for mask, v in zip(found, values, strict=True)
    ]
    counts = np.array([mask.sum(axis=-1) for mask in found], np.float64)
    return int(sum(equal)), len(rows) * len(values), counts


def _spread(counts: Floats) -> dict[str, float]:
    """Return the least, the median and the most of the survivors of the rows."""
    return {"least": counts.min(), "median": float(np.median(counts)), "most": counts.max()}


# ---------------------------------------------------------------- top_p


@CLAIMS.about(
    "top_p", "smallest_set",
    "Only the most likely tokens are left, those whose probabilities add up to the value.",
    vague="they hardly ever add up to it exactly; the token that crosses it is kept",
)  # fmt: skip
def _smallest_set(lab: Lab) -> Measured:
    rows, order = lab.rows.logits, ranked()
    p = np.take_along_axis(recorded(), order, axis=-1)
    mass = np.cumsum(p, axis=-1)
    equal, held, without = 0, [], []
    for value in (0.5, 0.9):
        mask = np.take_along_axis(kept(lab.logits({"top_p": value}, rows)), order, axis=-1)
        count = mask.sum(axis=-1)
        least = (mass < value).sum(axis=-1) + 1
        equal += int((mask == (np.arange(rows.shape[1]) < least[:, None])).all(axis=-1).sum())
        ends = np.take_along_axis(mass, count[:, None] - 1, axis=-1)[:, 0]
        last = np.take_along_axis(p, count[:, None] - 1, axis=-1)[:, 0]
        held += (ends - value).tolist()
        without += (ends - last - value).tolist()
    return Measured(
        equal == 2 * len(rows) and min(held) >= 0 and max(without) < 0,
        "At 0.5 and 0.9 the survivors are the smallest sufficient set on {equal} of {cases} rows; "
        "they hold {over:.3f} more than the value on average, {most:.2f} at most.",
        {"equal": equal, "cases": 2 * len(rows), "over": float(np.mean(held)), "most": max(held)},
    )


@CLAIMS.about("top_p", "lower", "A lower value makes the answer more predictable.")
def _lower(lab: Lab) -> Measured:
    values = [0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
    rows = lab.rows.logits[::4]
    cut = [lab.logits({"top_p": value}, rows) for value in values]
    counts = np.array([kept(logits).sum(axis=-1) for logits in cut])
    entropy = np.array([entropies(logits) for logits in cut])
    steps = (np.diff(counts, axis=0) >= 0) & (np.diff(entropy, axis=0) > -1e-12)
    mean = entropy.mean(axis=1)
    return Measured(
        bool(steps.all()) and mean[-1] > mean[0],
        "From 0.99 down to 0.1 neither survivors nor entropy grow on any row: {high:.2f} nats on "
        "average at 0.99, {half:.2f} at 0.5, {low:.2f} at 0.1.",
        {"high": mean[-1], "half": mean[2], "low": mean[0]},
        Picture(
            "Tokens that top_p leaves on 5 real rows", "top_p", "tokens left", values,
            {"fewest": counts.min(axis=1), "median": np.median(counts, axis=1),
             "most": counts.max(axis=1)}, log_y=True,
        ),
    )  # fmt: skip


@CLAIMS.about("top_p", "dynamic", "It is like a top_k that adapts.")
def _dynamic(lab: Lab) -> Measured:
    rows = lab.rows.logits
    cut = lab.logits({"top_p": 0.9}, rows)
    counts = kept(cut).sum(axis=-1)
    same = sum(
        changed_bits(lab.logits({"top_k": int(count)}, row), after) == 0
        for count, row, after in zip(counts, rows, cut, strict=True)
    )
    return Measured(
        same == len(rows) and counts.max() > counts.min(),
        "top_p 0.9 equals a top_k on {same} of {rows} rows, of {least:.0f} to {most:.0f} tokens "
        "(median {median:.0f}).",
        {"same": same, "rows": len(rows), **_spread(counts.astype(np.float64))},
    )


add_neutral(CLAIMS, "top_p", 1.0, "By default all tokens can be chosen.")


# ---------------------------------------------------------------- top_k


@CLAIMS.about("top_k", "exact", "The next token is chosen from a smaller set: the most likely.")
def _exact(lab: Lab) -> Measured:
    values = [1, 2, 5, 10, 40, 100, 1000]
    rows, order = lab.rows.logits, ranked()
    p = recorded()
    equal, mass = 0, []
    for k in values:
        mask = kept(lab.logits({"top_k": k}, rows))
        expected = np.zeros_like(mask)
        np.put_along_axis(expected, order[:, :k], True, axis=-1)
        equal += int((mask == expected).all(axis=-1).sum())
        mass.append((p * mask).sum(axis=-1))
    held = np.array(mass)
    return Measured(
        equal == len(rows) * len(values),
        "Exactly the k most likely are left in {equal} of {cases} cases (k 1 to 1000); 40 of them "
        "hold {forty:.0%} of the probability on average, on one row {worst:.0%}.",
        {"equal": equal, "cases": len(rows) * len(values), "forty": held[4].mean(),
         "worst": held[4].min()},
        Picture(
            "Probability that the k most likely tokens hold", "top_k", "probability", values,
            {"mean of 20 rows": held.mean(axis=1), "lowest": held.min(axis=1)}, log_x=True,
        ),
    )  # fmt: skip


@CLAIMS.about("top_k", "one", "With 1 the most likely token is always taken.")
def _one(lab: Lab) -> Measured:
    rows = lab.rows.logits
    best = ranked()[:, :1]
    drawn = lab.draw({"top_k": 1, "temperature": 2, "seed": 5}, rows, size=50)
    free = lab.draw({"temperature": 2, "seed": 5}, rows, size=50)
    share = float((drawn == best).mean())
    return Measured(
        share == 1,
        "At temperature 2, {share:.0%} of {draws} draws are the most likely token, and {free:.0%} "
        "without top_k.",
        {"share": share, "draws": drawn.size, "free": float((free == best).mean())},
    )


@CLAIMS.about(
    "top_k", "disabled",
    "By default it is disabled, so that every token can be chosen.",
    vague="0 is what disables it here; elsewhere 0 is refused, ignored, or -1 is the word for it",
)  # fmt: skip
def _disabled(lab: Lab) -> Measured:
    rows = lab.rows.logits
    size = rows.shape[1]
    changed = sum(changed_bits(lab.logits({"top_k": k}, rows), rows) for k in (0, size, size + 1))
    compared = compare_engines(rows[3], {"top_k": 0})
    all_left = int((compared.kept == size).sum())
    return Measured(
        changed == 0,
        "top_k 0, V and V + 1 change {changed} bits. A request of top_k 0 alone keeps the whole "
        "vocabulary at {all_left} of {engines} engines, and is refused by {refused}.",
        {"changed": changed, "all_left": all_left, "refused": len(compared.refused),
         "engines": len(compared.engines) + len(compared.refused)},
    )  # fmt: skip


# ---------------------------------------------------------------- min_p


@CLAIMS.about(
    "min_p", "tenth",
    "With 0.1 a token stays if it is at least a tenth as likely as the most likely one.",
)  # fmt: skip
def _tenth(lab: Lab) -> Measured:
    def keeps(p: Floats, value: float) -> Any:
        return p >= value * p.max(axis=-1, keepdims=True)

    equal, cases, counts = _equal_sets(lab, "min_p", [0.1, 0.02, 0.5], keeps)
    return Measured(
        equal == cases,
        "At 0.1, 0.02 and 0.5 the survivors are those of p ≥ min_p · p_max in {equal} of {cases} "
        "cases; 0.1 leaves {least:.0f} to {most:.0f} tokens (median {median:.0f}).",
        {"equal": equal, "cases": cases, **_spread(counts[0])},
    )


@CLAIMS.about(
    "min_p", "confidence", "The cutoff moves with how sure the model is of its best token."
)
def _confidence(lab: Lab) -> Measured:
    rows = lab.rows.logits
    p = recorded()
    mask = kept(lab.logits({"min_p": 0.1}, rows))
    removed = np.where(mask, 0, p).max(axis=-1)
    best = p == p.max(axis=-1, keepdims=True)  # stays whatever the cutoff
    left = np.where(mask & ~best, p, 1).min(axis=-1)
    highest, lowest = float(removed.max()), float(left.min())
    return Measured(
        highest > lowest,
        "At 0.1 a token of probability {highest:.3f} is removed on one row and one of {lowest:.4f} "
        "kept on another: no fixed cutoff does that.",
        {"highest": highest, "lowest": lowest},
        Picture(
            "Tokens that min_p 0.1 leaves, by row", "probability of the most likely token",
            "tokens left", p.max(axis=-1), {"one row": mask.sum(axis=-1)}, "points", log_y=True,
        ),
    )  # fmt: skip


add_neutral(CLAIMS, "min_p", 0.0, "By default nothing is cut off.")


# ---------------------------------------------------------------- top_a


@CLAIMS.about(
    "top_a", "formula",
    "Tokens stay whose probability is sufficiently high, measured against the most likely one.",
    vague="sufficient is p ≥ top_a · p_max², by RWKV's definition; the square is not mentioned",
)  # fmt: skip
def _formula(lab: Lab) -> Measured:
    def keeps(p: Floats, value: float) -> Any:
        return p >= value * p.max(axis=-1, keepdims=True) ** 2

    equal, cases, counts = _equal_sets(lab, "top_a", [0.1, 0.2, 0.8], keeps)
    return Measured(
        equal == cases,
        "At 0.1, 0.2 and 0.8 the survivors are those of the formula in {equal} of {cases} cases; "
        "0.2 leaves {least:.0f} to {most:.0f} tokens (median {median:.0f}).",
        {"equal": equal, "cases": cases, **_spread(counts[1])},
    )


@CLAIMS.about(
    "top_a", "direction",
    "A lower value narrows the choice to fewer tokens.",
    wrong="a lower value keeps more tokens, and 0 keeps all",
)  # fmt: skip
def _direction(lab: Lab) -> Measured:
    values = [1.0, 0.8, 0.5, 0.2, 0.1, 0.01, 0.001]
    rows = lab.rows.logits
    counts = np.array([kept(lab.logits({"top_a": a}, rows)).sum(axis=-1) for a in values])
    growing = int((np.diff(counts, axis=0) >= 0).all(axis=0).sum())
    median = np.median(counts, axis=1)
    return Measured(
        growing == len(rows) and median[-1] > median[0],
        "Down from 1 to 0.001 survivors never become fewer on {growing} of {rows} rows: in the "
        "median {one:.0f} at 1, {fifth:.0f} at 0.2, {little:.0f} at 0.001.",
        {"growing": growing, "rows": len(rows), "one": median[0], "fifth": median[3],
         "little": median[-1]},
        Picture(
            "A lower top_a leaves more tokens", "top_a", "tokens left", values,
            {"fewest": counts.min(axis=1), "median of 20 rows": median,
             "most": counts.max(axis=1)}, log_x=True, log_y=True,
        ),
    )  # fmt: skip


@CLAIMS.about(
    "top_a", "dynamic",
    "It is like a top_p that adapts.",
    vague="it adds nothing up: it is a min_p whose ratio is top_a · p_max",
)  # fmt: skip
def _adapts(lab: Lab) -> Measured:
    rows = lab.rows.logits
    best = recorded().max(axis=-1)
    cut = lab.logits({"top_a": 0.2}, rows)
    same = sum(
        bool((kept(lab.logits({"min_p": 0.2 * top}, row)) == kept(after)).all())
        for top, row, after in zip(best.tolist(), rows, cut, strict=True)
    )
    return Measured(
        same == len(rows),
        "top_a 0.2 equals min_p 0.2 · p_max on {same} of {rows} rows: a ratio of {least:.3f} where "
        "the model is unsure, {most:.3f} where it is sure.",
        {"same": same, "rows": len(rows), "least": 0.2 * best.min(), "most": 0.2 * best.max()},
    )


@CLAIMS.about(
    "top_a", "higher",
    "A higher value need not change how creative an answer is; it refines the selection.",
    vague="what refining is, is not said; a higher value removes more, and only where it can",
)  # fmt: skip
def _higher(lab: Lab) -> Measured:
    rows = lab.rows.logits
    low, high = (lab.logits({"top_a": a}, rows) for a in (0.1, 0.6))
    inside = bool((kept(high) <= kept(low)).all())
    lost = entropies(low) - entropies(high)
    unchanged = int((kept(high) == kept(low)).all(axis=-1).sum())
    return Measured(
        inside and lost.min() > -1e-12 and 0 < unchanged < len(rows),
        "From 0.1 to 0.6 the survivors of {unchanged} of {rows} rows stay the same; the others "
        "lose {mean:.2f} nats of entropy on average, {most:.2f} at most, and none gains any.",
        {"unchanged": unchanged, "rows": len(rows), "most": lost.max(),
         "mean": lost.sum() / max(len(rows) - unchanged, 1)},
    )  # fmt: skip


add_neutral(CLAIMS, "top_a", 0.0, "By default nothing is cut off.")
