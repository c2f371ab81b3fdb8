"""Claims about what is cut off: top_p, top_k, min_p and top_a."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.truth import (
    Floats,
    Ints,
    changed_bits,
    entropies,
    ranking,
    recorded_probs,
    survivors,
)

__all__ = ["CLAIMS"]

CLAIMS = Family()


def _equal_sets(
    lab: Lab, key: str, values: list[float], keep: Callable[[Floats, float], Any]
) -> tuple[int, int, Ints]:
    """Return on how many rows the survivors are those of an equation, of how many, and counts."""
    p = recorded_probs()
    masks = np.array([survivors(lab.logits(lab.rows.logits, {key: value})) for value in values])
    equal = (masks == [keep(p, value) for value in values]).all(axis=-1)
    return int(equal.sum()), equal.size, masks.sum(axis=-1)


def _survivor_range(counts: Ints) -> dict[str, float]:
    """Return the least, the median and the most of the survivors of the rows."""
    return {"least": counts.min(), "median": float(np.median(counts)), "most": counts.max()}


@CLAIMS.about(
    "top_p",
    "smallest_set",
    "Only the most likely tokens are left, those whose probabilities add up to the value.",
    vague="they hardly ever add up to it exactly; the token that crosses it is kept",
)
def _smallest_set(lab: Lab) -> Measured:
    rows, order = lab.rows.logits, ranking()
    p = np.take_along_axis(recorded_probs(), order, axis=-1)
    mass = np.cumsum(p, axis=-1)
    equal, over, without = 0, [], []
    for value in (0.5, 0.9):
        mask = np.take_along_axis(survivors(lab.logits(rows, {"top_p": value})), order, axis=-1)
        least = (mass < value).sum(axis=-1, keepdims=True) + 1
        equal += int((mask == (np.arange(rows.shape[1]) < least)).all(axis=-1).sum())
        last = mask.sum(axis=-1, keepdims=True) - 1
        ends = np.take_along_axis(mass, last, axis=-1)
        over.append(ends - value)
        without.append(ends - np.take_along_axis(p, last, axis=-1) - value)
    return Measured(
        equal == 2 * len(rows) and bool(np.min(over) >= 0 > np.max(without)),
        "At 0.5 and 0.9 the survivors are the smallest sufficient set on {equal} of {cases} rows; "
        "they hold {over:.3f} more than the value on average, {most:.2f} at most.",
        {
            "equal": equal,
            "cases": 2 * len(rows),
            "over": float(np.mean(over)),
            "most": float(np.max(over)),
        },
    )


@CLAIMS.about("top_p", "lower", "A lower value makes the answer more predictable.")
def _lower(lab: Lab) -> Measured:
    values = [0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
    cut = np.array([lab.logits(lab.rows.logits[::4], {"top_p": value}) for value in values])
    counts = survivors(cut).sum(axis=-1)
    entropy = entropies(cut)
    steps = (np.diff(counts, axis=0) >= 0) & (np.diff(entropy, axis=0) > -1e-12)
    mean = entropy.mean(axis=1)
    return Measured(
        bool(steps.all()) and mean[-1] > mean[0],
        "From 0.99 down to 0.1 neither survivors nor entropy grow on any row: {high:.2f} nats on "
        "average at 0.99, {half:.2f} at 0.5, {low:.2f} at 0.1.",
        {"high": mean[-1], "half": mean[2], "low": mean[0]},
        Picture(
            "Tokens that top_p leaves on 5 real rows",
            "top_p",
            "tokens left",
            values,
            {
                "fewest": counts.min(axis=1),
                "median": np.median(counts, axis=1),
                "most": counts.max(axis=1),
            },
            log_y=True,
        ),
    )


@CLAIMS.about("top_p", "dynamic", "It is like a top_k that adapts.")
def _dynamic(lab: Lab) -> Measured:
    rows = lab.rows.logits
    cut = lab.logits(rows, {"top_p": 0.9})
    counts = survivors(cut).sum(axis=-1)
    same = sum(
        changed_bits(lab.logits(row, {"top_k": int(count)}), after) == 0
        for count, row, after in zip(counts, rows, cut, strict=True)
    )
    return Measured(
        same == len(rows) and counts.max() > counts.min(),
        "top_p 0.9 equals a top_k on {same} of {rows} rows, of {least:.0f} to {most:.0f} tokens "
        "(median {median:.0f}).",
        {"same": same, "rows": len(rows), **_survivor_range(counts)},
    )


CLAIMS.add_neutral("top_p", 1.0, "By default all tokens can be chosen.")


@CLAIMS.about("top_k", "exact", "The next token is chosen from a smaller set: the most likely.")
def _exact(lab: Lab) -> Measured:
    values = [1, 2, 5, 10, 40, 100, 1000]
    rank = np.argsort(ranking(), axis=-1)  # of each token: the inverse of the order
    masks = np.array([survivors(lab.logits(lab.rows.logits, {"top_k": k})) for k in values])
    equal = (masks == [rank < k for k in values]).all(axis=-1)
    mass = (recorded_probs() * masks).sum(axis=-1)
    return Measured(
        bool(equal.all()),
        "Exactly the k most likely are left in {equal} of {cases} cases (k 1 to 1000); 40 of them "
        "hold {forty:.0%} of the probability on average, on one row {worst:.0%}.",
        {
            "equal": equal.sum(),
            "cases": equal.size,
            "forty": mass[4].mean(),
            "worst": mass[4].min(),
        },
        Picture(
            "Probability that the k most likely tokens hold",
            "top_k",
            "probability",
            values,
            {"mean of 20 rows": mass.mean(axis=1), "lowest": mass.min(axis=1)},
            log_x=True,
        ),
    )


@CLAIMS.about("top_k", "one", "With 1 the most likely token is always taken.")
def _one(lab: Lab) -> Measured:
    rows = lab.rows.logits
    best = ranking()[:, :1]
    tokens = lab.draw(rows, {"top_k": 1, "temperature": 2, "seed": 5}, size=50)
    free = lab.draw(rows, {"temperature": 2, "seed": 5}, size=50)
    share = float((tokens == best).mean())
    return Measured(
        share == 1,
        "At temperature 2, {share:.0%} of {draws} draws are the most likely token, and {free:.0%} "
        "without top_k.",
        {"share": share, "draws": tokens.size, "free": float((free == best).mean())},
    )


@CLAIMS.about(
    "top_k",
    "disabled",
    "By default it is disabled, so that every token can be chosen.",
    vague="0 is what disables it here; elsewhere 0 is refused, ignored, or -1 is the word for it",
)
def _disabled(lab: Lab) -> Measured:
    rows = lab.rows.logits
    size = rows.shape[1]
    changed = sum(changed_bits(lab.logits(rows, {"top_k": k}), rows) for k in (0, size, size + 1))
    compared = lab.compare(rows[3], {"top_k": 0})
    all_left = int((compared.kept == size).sum())
    return Measured(
        changed == 0,
        "top_k 0, V and V + 1 change {changed} bits. A request of top_k 0 alone keeps the whole "
        "vocabulary at {all_left} of {engines} engines, and is refused by {refused}.",
        {
            "changed": changed,
            "all_left": all_left,
            "refused": len(compared.refused),
            "engines": len(compared.engines) + len(compared.refused),
        },
    )


@CLAIMS.about(
    "top_k",
    "ties",
    "It limits at each step how many tokens there are to choose from.",
    vague="where tokens are equal, as bfloat16 makes many, some engines keep more",
)
def _ties(lab: Lab) -> Measured:
    k = 50
    request = {"temperature": 1, "top_k": k, "top_p": 1, "min_p": 0}
    parted = {"float32": 0, "bfloat16": 0}
    kept: list[Ints] = []
    for rows in (lab.rows, lab.tied_rows):
        for row in rows.logits:
            compared = lab.compare(row, request)
            counts = compared.kept[compared.kept < len(row)]  # the rest has no top_k
            parted[rows.dtype] += bool((counts != counts[0]).any())
            if rows.dtype == "bfloat16":
                kept.append(counts)
    counts = np.array(kept)
    tied = lab.tied_rows.logits
    equal = (tied >= np.sort(tied, axis=-1)[:, -k, None]).sum(axis=-1)  # to the last, or above it
    exactly, all_equal = (counts == k).all(axis=0), (counts == equal[:, None]).all(axis=0)
    return Measured(
        parted["float32"] == 0
        and parted["bfloat16"] == (equal > k).sum() > 0
        and bool((exactly ^ all_equal).all() and exactly.any() and all_equal.any()),
        "Rounded to bfloat16, {parted} of {rows} rows are left with different numbers of tokens "
        "after top_k 50 alone: {more} engines keep all that equal the last one, up to {most}, and "
        "{others} exactly 50. In float32 it is {before} rows.",
        {
            "parted": parted["bfloat16"],
            "rows": len(tied),
            "more": all_equal.sum(),
            "most": equal.max(),
            "others": exactly.sum(),
            "before": parted["float32"],
        },
    )


@CLAIMS.about(
    "min_p",
    "tenth",
    "With 0.1 a token stays if it is at least a tenth as likely as the most likely one.",
)
def _tenth(lab: Lab) -> Measured:
    equal, cases, counts = _equal_sets(
        lab, "min_p", [0.1, 0.02, 0.5], lambda p, a: p >= a * p.max(axis=-1, keepdims=True)
    )
    return Measured(
        equal == cases,
        "At 0.1, 0.02 and 0.5 the survivors are those of p ≥ min_p · p_max in {equal} of {cases} "
        "cases; 0.1 leaves {least:.0f} to {most:.0f} tokens (median {median:.0f}).",
        {"equal": equal, "cases": cases, **_survivor_range(counts[0])},
    )


@CLAIMS.about(
    "min_p", "confidence", "The cutoff moves with how sure the model is of its best token."
)
def _confidence(lab: Lab) -> Measured:
    p = recorded_probs()
    mask = survivors(lab.logits(lab.rows.logits, {"min_p": 0.1}))
    best = p == p.max(axis=-1, keepdims=True)  # stays whatever the cutoff
    highest, lowest = float(p[~mask].max(initial=0)), float(p[mask & ~best].min(initial=1))
    return Measured(
        highest > lowest,
        "At 0.1 a token of probability {highest:.3f} is removed on one row and one of {lowest:.4f} "
        "kept on another: no fixed cutoff does that.",
        {"highest": highest, "lowest": lowest},
        Picture(
            "Tokens that min_p 0.1 leaves, by row",
            "probability of the most likely token",
            "tokens left",
            p.max(axis=-1),
            {"one row": mask.sum(axis=-1)},
            "points",
            log_y=True,
        ),
    )


CLAIMS.add_neutral("min_p", 0.0, "By default nothing is cut off.")


@CLAIMS.about(
    "top_a",
    "formula",
    "Tokens stay whose probability is sufficiently high, measured against the most likely one.",
    vague="sufficient is p ≥ top_a · p_max², by RWKV's definition; the square is not mentioned",
)
def _formula(lab: Lab) -> Measured:
    equal, cases, counts = _equal_sets(
        lab, "top_a", [0.1, 0.2, 0.8], lambda p, a: p >= a * p.max(axis=-1, keepdims=True) ** 2
    )
    return Measured(
        equal == cases,
        "At 0.1, 0.2 and 0.8 the survivors are those of the formula in {equal} of {cases} cases; "
        "0.2 leaves {least:.0f} to {most:.0f} tokens (median {median:.0f}).",
        {"equal": equal, "cases": cases, **_survivor_range(counts[1])},
    )


@CLAIMS.about(
    "top_a",
    "direction",
    "A lower value narrows the choice to fewer tokens.",
    wrong="a lower value keeps more tokens, and 0 keeps all",
)
def _direction(lab: Lab) -> Measured:
    values = [1.0, 0.8, 0.5, 0.2, 0.1, 0.01, 0.001]
    cut = np.array([lab.logits(lab.rows.logits, {"top_a": a}) for a in values])
    counts = survivors(cut).sum(axis=-1)
    growing = (np.diff(counts, axis=0) >= 0).all(axis=0)
    median = np.median(counts, axis=1)
    return Measured(
        bool(growing.all()) and median[-1] > median[0],
        "Down from 1 to 0.001 survivors never become fewer on {growing} of {rows} rows: in the "
        "median {one:.0f} at 1, {fifth:.0f} at 0.2, {little:.0f} at 0.001.",
        {
            "growing": growing.sum(),
            "rows": growing.size,
            "one": median[0],
            "fifth": median[3],
            "little": median[-1],
        },
        Picture(
            "A lower top_a leaves more tokens",
            "top_a",
            "tokens left",
            values,
            {"fewest": counts.min(axis=1), "median of 20 rows": median, "most": counts.max(axis=1)},
            log_x=True,
            log_y=True,
        ),
    )


@CLAIMS.about(
    "top_a",
    "dynamic",
    "It is like a top_p that adapts.",
    vague="it adds nothing up: it is a min_p whose ratio is top_a · p_max",
)
def _adapts(lab: Lab) -> Measured:
    rows = lab.rows.logits
    best = recorded_probs().max(axis=-1)
    cut = lab.logits(rows, {"top_a": 0.2})
    same = sum(
        bool((survivors(lab.logits(row, {"min_p": 0.2 * top})) == survivors(after)).all())
        for top, row, after in zip(best.tolist(), rows, cut, strict=True)
    )
    return Measured(
        same == len(rows),
        "top_a 0.2 equals min_p 0.2 · p_max on {same} of {rows} rows: a ratio of {least:.3f} where "
        "the model is unsure, {most:.3f} where it is sure.",
        {"same": same, "rows": len(rows), "least": 0.2 * best.min(), "most": 0.2 * best.max()},
    )


@CLAIMS.about(
    "top_a",
    "higher",
    "A higher value need not change how creative an answer is; it refines the selection.",
    vague="what refining is, is not said; a higher value removes more, and only where it can",
)
def _higher(lab: Lab) -> Measured:
    rows = lab.rows.logits
    low, high = (lab.logits(rows, {"top_a": a}) for a in (0.1, 0.6))
    inside = bool((survivors(high) <= survivors(low)).all())
    lost = entropies(low) - entropies(high)
    unchanged = int((survivors(high) == survivors(low)).all(axis=-1).sum())
    return Measured(
        inside and lost.min() > -1e-12 and 0 < unchanged < len(rows),
        "From 0.1 to 0.6 the survivors of {unchanged} of {rows} rows stay the same; the others "
        "lose {mean:.2f} nats of entropy on average, {most:.2f} at most, and none gains any.",
        {
            "unchanged": unchanged,
            "rows": len(rows),
            "most": lost.max(),
            "mean": lost.sum() / max(len(rows) - unchanged, 1),
        },
    )


CLAIMS.add_neutral("top_a", 0.0, "By default nothing is cut off.")
