"""Claims about what is bent, and what is repeated: dynamic temperature, smoothing, skew, DRY."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture, Source
from logitlab.claims.lab import Lab
from logitlab.claims.truth import (
    LEVEL,
    Floats,
    are_larger,
    entropies,
    probabilities,
    ranking,
    recorded_probs,
    survivors,
)
from logitlab.steps.context import Context

__all__ = ["CLAIMS"]

CLAIMS = Family()
_DYNAMIC = Source.thread("kalomaze", "LostRuins/koboldcpp", 600)
_QUADRATIC = Source.thread("kalomaze", "oobabooga/textgen", 5403)
_CUBIC = Source.thread("BadisG", "oobabooga/textgen", 5551)
_WIKI = Source(
    "text-generation-webui, Parameters Tab",
    "https://github.com/oobabooga/text-generation-webui/wiki/03-%E2%80%90-Parameters-Tab",
)
_SKEW = Source("AlpinDale, aphrodite-engine #834", "https://github.com/dphnAI/sonar/pull/834")
_DRY = Source.thread("p-e-w", "oobabooga/textgen", 5677)
_PAULUS = Source.paper("Paulus et al.", "1705.04304")
_ROW = 3


@CLAIMS.about(
    "dynatemp_range",
    "entropy",
    "The temperature scales with the entropy: hotter where the model is less sure.",
    source=_DYNAMIC,
)
def _dynamic_entropy(lab: Lab) -> Measured:
    rows = lab.rows.logits.astype(np.float64)
    height = entropies(rows)
    worst, heats = 0.0, []
    for exponent in (1.0, 2.0):
        request = {"dynatemp_range": 0.8, "dynatemp_exponent": exponent}
        after = lab.logits(rows, request)
        heat = np.ptp(rows, axis=-1) / np.ptp(after, axis=-1)
        expected = 0.2 + 1.6 * (height / np.log(rows.shape[1])) ** exponent
        worst = max(worst, float(np.abs(heat - expected).max()))
        heats.append(heat)
    order = np.argsort(height)
    rising = bool((np.diff(heats[0][order]) > 0).all())
    return Measured(
        worst < 1e-9 and rising,
        "With 1 ± 0.8 the temperature rises with the entropy from row to row, from {least:.2f} "
        "(entropy {sure:.2f}) to {most:.2f} (entropy {flat:.2f}); with exponent 2 to {square:.2f}. "
        "1.8 is for a flat row. It is the equation to {worst:.1g}.",
        {
            "least": heats[0].min(),
            "most": heats[0].max(),
            "square": heats[1].max(),
            "sure": height.min(),
            "flat": height.max(),
            "worst": worst,
        },
        Picture(
            "Temperature that 20 rows get from 1 ± 0.8",
            "entropy in nats",
            "temperature",
            height[order],
            {"exponent 1": heats[0][order], "exponent 2": heats[1][order]},
        ),
    )


@CLAIMS.about(
    "smoothing_factor",
    "even",
    "The top tokens become more even, and unlikely ones are punished without being cut off.",
    vague="top are those within 1 / factor of the best logit; the others fall",
    source=_QUADRATIC,
)
def _smoothing_even(lab: Lab) -> Measured:
    rows = lab.rows.logits.astype(np.float64)
    factor = 0.3
    after = lab.logits(rows, {"smoothing_factor": factor})
    gap, new = (x.max(axis=-1, keepdims=True) - x for x in (rows, after))
    near = gap < 1 / factor
    raised, lowered = (new <= gap)[near], (new >= gap)[~near]
    unlikely = recorded_probs() < 1e-4
    tails = [float((probabilities(x) * unlikely).sum(-1).mean()) for x in (rows, after)]
    right = int(raised.sum() + lowered.sum())
    return Measured(
        right == rows.size and bool(survivors(after).all()) and tails[1] < tails[0],
        "At 0.3 the tokens within 3.3 of the best logit, {least} to {most} of a row, come closer "
        "to it and all others move away ({right} of {logits}). Tokens below 0.0001 go from "
        "{before:.1%} to {after:.1%} of the probability, and none is removed.",
        {
            "least": near.sum(axis=-1).min(),
            "most": near.sum(axis=-1).max(),
            "right": right,
            "logits": rows.size,
            "before": tails[0],
            "after": tails[1],
        },
        Picture(
            "The ten best tokens of a story, smoothed",
            "rank",
            "probability",
            [str(i + 1) for i in range(10)],
            {
                "as it is": recorded_probs()[_ROW, ranking()[_ROW, :10]],
                "smoothing_factor 0.3": probabilities(after)[_ROW, ranking()[_ROW, :10]],
            },
            "bars",
        ),
    )


@CLAIMS.about(
    "smoothing_curve",
    "overtakes",
    "At 3 or higher it does not work any more.",
    vague="3 works; above it tokens just below the best one overtake it",
    source=_CUBIC,
)
def _curve_overtakes(lab: Lab) -> Measured:
    rows = lab.rows.logits.astype(np.float64)
    curves = [1.0, 2.0, 3.0, 3.5, 4.0, 5.0]
    after = [
        lab.logits(rows, {"smoothing_factor": 0.3, "smoothing_curve": c}).max(axis=-1)
        for c in curves
    ]
    # The best logit stays where it is: a greater one has overtaken it.
    overtaken = [int((best > rows.max(axis=-1) + 1e-9).sum()) for best in after]
    return Measured(
        not any(overtaken[:3]) and overtaken[-1] > 0,
        "At 1, 2 and 3 the best token stays the best on every row; at 4 another one overtakes it "
        "on {four} of {rows}, at 5 on {five}. That is what is less than (curve - 3) / (curve - 1) "
        "below it.",
        {"four": overtaken[-2], "five": overtaken[-1], "rows": len(rows)},
        Picture(
            "Rows of 20 whose best token is overtaken",
            "smoothing_curve",
            "rows",
            [f"{c:g}" for c in curves],
            {"overtaken": overtaken},
            "bars",
        ),
    )


@CLAIMS.about(
    "temperature_last",
    "coherent",
    "Unlikely tokens can be cut off before a high temperature makes the text creative.",
    source=_WIKI,
)
def _temperature_last(lab: Lab) -> Measured:
    rows = lab.rows.logits
    cold = survivors(lab.logits(rows, {"min_p": 0.05}))
    heats = [0.5, 1.5, 2.0]
    same, counts = [], []
    for last in (True, False):
        masks = [
            survivors(lab.logits(rows, {"min_p": 0.05, "temperature": t, "temperature_last": last}))
            for t in heats
        ]
        same.append(int(np.all([mask == cold for mask in masks], axis=(0, 2)).sum()))
        counts.append(float(np.median(masks[-1].sum(axis=-1))))
    hot = lab.logits(rows, {"min_p": 0.05, "temperature": 2.0, "temperature_last": True})
    flatter = bool((entropies(hot) >= entropies(np.where(cold, rows, -np.inf)) - 1e-6).all())
    return Measured(
        same[0] == len(rows) > same[1] and flatter,
        "Applied last, temperatures 0.5 to 2 leave the tokens of min_p 0.05 as they are on {last} "
        "of {rows} rows, {kept:.0f} in the median; applied first on {first}, and {first_kept:.0f} "
        "are left at 2.",
        {
            "last": same[0],
            "first": same[1],
            "rows": len(rows),
            "kept": counts[0],
            "first_kept": counts[1],
        },
    )


@CLAIMS.about(
    "skew",
    "direction",
    "A positive one favours tokens of higher probability, a negative one those of lower.",
    wrong="it is the other way round; and in Aphrodite it goes along token ids, whatever they mean",
    source=_SKEW,
)
def _skew_direction(lab: Lab) -> Measured:
    rows = lab.rows.logits[::4].astype(np.float64)
    order = ranking()[::4]
    before = np.cumsum(np.take_along_axis(recorded_probs()[::4], order, axis=-1), axis=-1)
    amounts = [-1.0, -0.5, 0.0, 0.5, 1.0]
    worst, best = 0.0, []
    for amount in amounts:
        after = probabilities(lab.logits(rows, {"skew": amount}))
        sums = np.cumsum(np.take_along_axis(after, order, axis=-1), axis=-1)
        worst = max(worst, float(np.abs(sums - before ** np.exp(amount)).max()))
        best.append(np.take_along_axis(after, order[:, :1], axis=-1)[:, 0])
    falling = bool((np.diff(best, axis=0) < 0).all())
    mean = np.mean(best, axis=1)
    return Measured(
        worst < 1e-9 and falling,
        "Down the sorted row every cumulative probability C is C to the power e^skew (to "
        "{worst:.0e}). The most likely token has {low:.0%} at -1, {none:.0%} at 0, {high:.0%} at "
        "1, on average.",
        {"worst": worst, "low": mean[0], "none": mean[2], "high": mean[-1]},
        Picture(
            "Probability of the most likely token",
            "skew",
            "probability",
            amounts,
            {"mean of 5 rows": mean, "highest": np.max(best, axis=1)},
        ),
    )


def _repeating(length: int) -> tuple[Context, int]:
    """Return a text whose last tokens, so many, stand earlier in it, and what followed there."""
    phrase, other = list(range(100, 120)), list(range(200, 230))
    return Context(prompt=[*phrase, 7, *other, *phrase[len(phrase) - length :]]), 7


def _dry_drop(lab: Lab, length: int, **request: object) -> float:
    """Return what DRY takes from the token that would go on with a repetition."""
    context, token = _repeating(length)
    row = lab.rows.logits[_ROW].astype(np.float64)
    return float(row[token] - lab.logits(row, {"dry_multiplier": 0.8, **request}, context)[token])


@CLAIMS.about(
    "dry_multiplier",
    "exponential",
    "The penalty grows exponentially: multiplier · base ^ (length - allowed length).",
    source=_DRY,
)
def _dry_exponential(lab: Lab) -> Measured:
    lengths = list(range(9))
    bases = (1.75, 1.2)
    drops = [
        np.array([_dry_drop(lab, n, dry_base=base, dry_allowed_length=3) for n in lengths])
        for base in bases
    ]
    worst = max(
        float(np.abs(drop[3:] - 0.8 * base ** np.arange(6.0)).max())
        for base, drop in zip(bases, drops, strict=True)
    )
    below = float(np.abs([drop[:3] for drop in drops]).max())
    return Measured(
        worst < 1e-9 and below == 0,
        "With 0.8, 1.75 and an allowed length of 3 what would go on with 3 repeated tokens loses "
        "{three:.2f}, with 4 {four:.2f}, with 8 {eight:.2f}; with fewer than 3 nothing. It is the "
        "equation to {worst:.1g}.",
        {"three": drops[0][3], "four": drops[0][4], "eight": drops[0][8], "worst": worst},
        Picture(
            "What DRY takes from the next token of a repetition",
            "tokens that are repeated",
            "taken from the logit",
            lengths,
            {f"dry_base {base:g}": drop for base, drop in zip(bases, drops, strict=True)},
        ),
    )


@CLAIMS.about(
    "dry_multiplier",
    "breakers",
    "Sequence breakers interrupt what is matched: no repetition reaches across one.",
    source=_DRY,
)
def _dry_breakers(lab: Lab) -> Measured:
    whole = _dry_drop(lab, 8)
    # The repeated tokens are 112 to 119: a breaker leaves those after it.
    drops = [_dry_drop(lab, 8, dry_sequence_breakers=[[token]]) for token in (115, 118, 119)]
    pair = _dry_drop(lab, 8, dry_sequence_breakers=[[115, 116]])
    expected = [0.8 * 1.75**2, 0.0, 0.0]
    worst = float(np.abs(np.array([*drops, pair]) - [*expected, 0.8 * 1.75]).max())
    return Measured(
        worst < 1e-9 and whole > max(drops),
        "Of 8 repeated tokens that take {whole:.1f} from the next one, a breaker before the last 4 "
        "leaves {four:.2f}, as much as 4 tokens take; one before the last, or at the end, leaves "
        "{one:.0f}. One of two tokens that ends before the last 3 leaves {pair:.2f}.",
        {"whole": whole, "four": drops[0], "one": drops[1], "pair": pair, "worst": worst},
    )


@CLAIMS.about(
    "dry_multiplier",
    "spares",
    "Words may come again: unlike other penalties it spares what does not go on with a repetition.",
    source=_DRY,
)
def _dry_spares(lab: Lab) -> Measured:
    rows, context = lab.rows.logits, lab.context
    seen = sum(len(set(map(int, prompt))) for prompt in lab.rows.prompt_ids)
    dry, other = (
        int((lab.logits(rows, request, context) != rows).sum())
        for request in ({"dry_multiplier": 0.8}, {"repetition_penalty": 1.1})
    )
    repeats = _dry_drop(lab, 5)
    return Measured(
        dry < 0.1 * seen <= other and repeats > 0,
        "Of the {seen} tokens of 20 prompts a repetition_penalty changes the logits of {other}, "
        "DRY those of {dry}; and {repeats:.1f} is taken from what would repeat a sixth token in a "
        "row.",
        {"seen": seen, "other": other, "dry": dry, "repeats": repeats},
    )


def _longest_repeat(tokens: Sequence[int]) -> int:
    """Return the length of the longest sequence that stands twice in a text.

    Examples
    --------
    >>> _longest_repeat([1, 2, 3, 1, 2, 4])
    2
    """
    text = np.asarray(tokens)
    longest = 0
    for shift in range(1, len(text)):
        same = np.flatnonzero(np.append(text[shift:] != text[:-shift], True))
        longest = max(longest, int(np.diff(same, prepend=-1).max()) - 1)
    return longest


def _repeats(lab: Lab, request: dict[str, object]) -> Floats:
    """Let a model write texts that run into loops; return the longest repeat of each."""
    prompts = ["The king", "The wolf said", "Once upon a time"]
    cold = {"temperature": 0.2, "seed": 3, "max_tokens": 40}
    texts = lab.tokens(prompts, {**cold, **request}, n=4, model=lab.forgetful)
    return np.array(list(map(_longest_repeat, texts)), np.float64)


@CLAIMS.about(
    "dry_multiplier",
    "loops",
    "It reliably prevents looping.",
    vague="whole loops; short phrases come again until the penalty outweighs them",
    source=_DRY,
)
def _dry_loops(lab: Lab) -> Measured:
    values = [0.0, 0.2, 0.8]
    lengths = [_repeats(lab, {"dry_multiplier": v, "dry_penalty_last_n": -1}) for v in values]
    p = are_larger(lengths[0], lengths[2])
    return Measured(
        p < LEVEL and lengths[2].max() < lengths[0].max() / 2,
        "Of a model of word pairs, texts of 40 tokens at temperature 0.2 repeat a sequence of "
        "{without:.1f} tokens on average, with a multiplier of 0.2 of {little:.1f}, with 0.8 of "
        "{usual:.1f} ({most:.0f} at most; rank test, p = {p:.0e}).",
        {
            "without": lengths[0].mean(),
            "little": lengths[1].mean(),
            "usual": lengths[2].mean(),
            "most": lengths[2].max(),
            "p": p,
        },
        Picture(
            "The longest sequence that stands twice in a text",
            "dry_multiplier",
            "tokens",
            [f"{value:g}" for value in values],
            {
                "mean of 12 texts": [one.mean() for one in lengths],
                "longest": [one.max() for one in lengths],
            },
            "bars",
        ),
    )


@CLAIMS.about(
    "no_repeat_ngram_size",
    "never",
    "No trigram is ever output twice.",
    source=_PAULUS,
)
def _ngram_never(lab: Lab) -> Measured:
    sizes = [0, 2, 3]
    lengths = [_repeats(lab, {"no_repeat_ngram_size": n}) for n in sizes]
    right = sum(int((one < n).sum()) for n, one in zip(sizes[1:], lengths[1:], strict=True))
    cases = sum(map(len, lengths[1:]))
    longer = all(a.mean() <= b.mean() for a, b in pairwise(lengths[1:]))
    return Measured(
        right == cases and longer and lengths[0].min() >= 4,
        "With 2 and 3 no sequence of that many tokens stands twice in {right} of {cases} texts "
        "of a model of word pairs at temperature 0.2; without it in every one, and of {least:.0f} "
        "to {most:.0f} tokens.",
        {"right": right, "cases": cases, "least": lengths[0].min(), "most": lengths[0].max()},
        Picture(
            "The longest sequence that stands twice in a text",
            "no_repeat_ngram_size",
            "tokens",
            [f"{size:g}" for size in sizes],
            {
                "mean of 12 texts": [one.mean() for one in lengths],
                "longest": [one.max() for one in lengths],
            },
            "bars",
        ),
    )
