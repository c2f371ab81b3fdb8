"""Claims about what has occurred: frequency, presence and repetition penalty."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
from logitlab.checks import ParameterError
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.truth import (
    LEVEL,
    Floats,
    are_larger,
    changed_bits,
    mass_of,
    mean_logprobs,
    probabilities,
    ranking,
    repeated_share,
)
from logitlab.engines import MAIN, get
from logitlab.steps.context import Context

__all__ = ["CLAIMS"]

CLAIMS = Family()
_ROW = 3
_TEXTS_EACH = 16
_PROMPT = (
    "The king and the queen went into the forest, and the old woman said to him that she was in "
    "the house of the wolf."
)


def _drops(lab: Lab, key: str, value: float) -> tuple[Floats, bool]:
    """Return what a penalty takes from tokens that occur 1 to 5 times, and if others stay."""
    tokens = ranking()[_ROW, :5]
    context = Context(prompt=np.repeat(tokens, np.arange(1, 6, dtype=np.intp)))
    row = lab.rows.logits[_ROW].astype(np.float64)
    after = lab.logits(row, {key: value}, context)
    changed = changed_bits(np.delete(row, tokens), np.delete(after, tokens))
    return row[tokens] - after[tokens], changed == 0


def _repeated_shares(lab: Lab, key: str, values: list[float]) -> Floats:
    """Let a model write, and return which share of each text's tokens occurred before."""
    requests = ({key: value, "seed": 2, "max_tokens": 24} for value in values)
    groups = [lab.generate(_PROMPT, request, n=_TEXTS_EACH) for request in requests]
    return np.array([[repeated_share(a.prompt, a.tokens) for a in group] for group in groups])


def _prompt_mass(lab: Lab, key: str, values: list[float]) -> Floats:
    """Return the probability of each prompt's own tokens, one line for each value."""
    rows, context = lab.rows.logits, lab.context
    after = (probabilities(lab.logits(rows, {key: value}, context)) for value in values)
    return np.array([mass_of(probs, lab.rows.prompt_ids) for probs in after])


def _reuse(key: str, lab: Lab) -> Measured:
    values = [-2.0, 0.0, 2.0]
    shares = _repeated_shares(lab, key, values)
    p = max(are_larger(low, high) for low, high in pairwise(shares))
    mass = _prompt_mass(lab, key, values)
    falling = int((np.diff(mass, axis=0) < 0).all(axis=0).sum())
    low, none, high = shares.mean(axis=1)
    return Measured(
        p < LEVEL and falling == mass.shape[1],
        "Of the tokens that are written, {low:.0%} occurred before at -2, {none:.0%} at 0, "
        "{high:.0%} at 2 (16 texts each, rank tests, p = {p:.0e}); on {falling} of {rows} rows the "
        "prompt's tokens become less likely with the value.",
        {
            "low": low,
            "none": none,
            "high": high,
            "p": p,
            "falling": falling,
            "rows": mass.shape[1],
        },
        Picture(
            "Written tokens that occurred before, in 16 texts",
            key,
            "share of the tokens",
            values,
            {
                "mean": shares.mean(axis=1),
                "lowest": shares.min(axis=1),
                "highest": shares.max(axis=1),
            },
        ),
    )


@CLAIMS.about(
    "frequency_penalty",
    "proportional",
    "A token is held back in proportion to how often it occurs.",
)
def _proportional(lab: Lab) -> Measured:
    drops, others = _drops(lab, "frequency_penalty", 0.5)
    worst = float(np.abs(drops - 0.5 * np.arange(1, 6)).max())
    flat, _ = _drops(lab, "presence_penalty", 0.5)
    return Measured(
        worst < 1e-12 and others,
        "0.5 takes {one:.1f} from the logit of a token that occurs once, {two:.1f} from one that "
        "occurs twice, {five:.1f} at five times, and nothing from others.",
        {"one": drops[0], "two": drops[1], "five": drops[4], "worst": worst},
        Picture(
            "A frequency penalty grows with the count, a presence penalty does not",
            "how often the token occurs",
            "taken from its logit",
            list("12345"),
            {"frequency_penalty 0.5": drops, "presence_penalty 0.5": flat},
            "bars",
        ),
    )


CLAIMS.about(
    "frequency_penalty",
    "reuse",
    "It makes repetition rarer; negative values encourage tokens that were used.",
)(partial(_reuse, "frequency_penalty"))


def _scopes(row: Floats) -> tuple[int, int]:
    """Return how many engines count the output alone, and how many prompt and output."""
    tokens = ranking()[_ROW, :2]
    context = Context(prompt=tokens[:1], output=tokens[1:])
    alone = both = 0
    drawn = {"temperature": 0.9}  # at 1 TGI takes the request for a greedy one
    for name in MAIN:
        try:
            penalised = get(name)({**drawn, "frequency_penalty": 1.0})(row, context)
        except ParameterError:
            continue
        plain = get(name)(drawn)(row, context)
        drops = plain[tokens] - penalised[tokens]
        alone += drops[0] < 0.5 < drops[1]
        both += min(drops) > 0.5
    return int(alone), int(both)


@CLAIMS.about(
    "frequency_penalty",
    "input",
    "Occurrences in the input count.",
    vague="whether the answer so far is input is not said; here prompt and output both count",
)
def _input(lab: Lab) -> Measured:
    tokens = ranking()[_ROW, :3]
    row = lab.rows.logits[_ROW].astype(np.float64)
    context = Context(prompt=tokens[[0, 2]], output=tokens[[1, 2]])
    drops = (row - lab.logits(row, {"frequency_penalty": 1.0}, context))[tokens]
    alone, both = _scopes(row)
    return Measured(
        bool(np.abs(drops - [1, 1, 2]).max() < 1e-12),
        "Value 1 takes {prompt:.0f} for an occurrence in the prompt, {output:.0f} for one in the "
        "output, {twice:.0f} for one in each. (Of {engines} engines {both} count both, {alone} the "
        "output alone, {none} neither.)",
        {
            "prompt": drops[0],
            "output": drops[1],
            "twice": drops[2],
            "both": both,
            "alone": alone,
            "none": len(MAIN) - both - alone,
            "engines": len(MAIN),
        },
    )


CLAIMS.add_neutral("frequency_penalty", 0.0, "The default is 0: nothing is held back.")


@CLAIMS.about(
    "presence_penalty", "once", "How often a token has occurred does not matter, only whether."
)
def _once(lab: Lab) -> Measured:
    drops, others = _drops(lab, "presence_penalty", 0.5)
    worst = float(np.abs(drops - 0.5).max())
    return Measured(
        worst < 1e-12 and others,
        "0.5 takes {one:.1f} from the logit of a token that occurs once and {five:.1f} from one "
        "that occurs five times, and nothing from others.",
        {"one": drops[0], "five": drops[4], "worst": worst},
    )


CLAIMS.about(
    "presence_penalty",
    "reuse",
    "Higher values make it less likely that a used token returns, negative ones more likely.",
)(partial(_reuse, "presence_penalty"))


CLAIMS.add_neutral("presence_penalty", 0.0, "The default is 0: nothing is held back.")


@CLAIMS.about("repetition_penalty", "reduces", "A higher value makes repetition less likely.")
def _reduces(lab: Lab) -> Measured:
    shares = _repeated_shares(lab, "repetition_penalty", [1.0, 2.0])
    p = are_larger(shares[0], shares[1])
    one, high = shares.mean(axis=1)
    return Measured(
        p < LEVEL,
        "Of the tokens that are written, {one:.0%} occurred before at 1 and {high:.0%} at 2 (16 "
        "texts each, rank test, p = {p:.0e}).",
        {"one": one, "high": high, "p": p},
    )


@CLAIMS.about(
    "repetition_penalty",
    "coherence",
    "Too high a value makes the text less coherent.",
    vague="neither how high nor coherence is defined; measured: how likely the model finds it",
)
def _coherence(lab: Lab) -> Measured:
    def typical(value: float) -> list[float]:
        request = {"repetition_penalty": value, "seed": 2, "max_tokens": 40, "logprobs": True}
        return mean_logprobs(lab.generate(_PROMPT, request, n=_TEXTS_EACH, model=model))

    model = lab.raised(20.0)
    one, high = typical(1.0), typical(2.0)
    p = are_larger(one, high)
    return Measured(
        p < LEVEL,
        "With logits raised by 20, to the size of a real model's, the model itself finds a token "
        "of its text {times:.1f} times less likely at 2 than at 1 ({one:.2f} and {high:.2f} nats, "
        "rank test, p = {p:.0e}).",
        {
            "one": float(np.mean(one)),
            "high": float(np.mean(high)),
            "p": p,
            "times": float(np.exp(np.mean(one) - np.mean(high))),
        },
    )


@CLAIMS.about(
    "repetition_penalty",
    "scale",
    "The penalty scales with the token's original probability.",
    wrong="it follows the logit's size and sign; models of equal probabilities are penalised "
    "differently",
)
def _repetition_scale(lab: Lab) -> Measured:
    shifts = [-40.0, -20.0, -10.0, 0.0, 10.0, 20.0, 40.0]
    places = np.array([3, 8, 12, 13, 14])
    rows = lab.rows.logits[places].astype(np.float64)
    context = lab.context.for_rows((len(lab.rows),), places)
    ids = [lab.rows.prompt_ids[i] for i in places]
    request = {"repetition_penalty": 1.2}
    before = probabilities(rows)
    unequal = max(float(np.abs(probabilities(rows + s) - before).max()) for s in shifts)
    after = [probabilities(lab.logits(rows + shift, request, context)) for shift in shifts]
    mass = [mass_of(p, ids).mean() for p in after]
    plain = mass_of(before, ids).mean()
    distance = 0.5 * np.abs(after[1] - after[5]).sum(axis=-1)
    return Measured(
        unequal < 1e-12 and float(distance.min()) > 1e-6,
        "All logits less 20 or plus 20 are the same probabilities (off by {unequal:.1g}), and 1.2 "
        "makes of them distributions {distance:.2f} apart: prompt tokens get {low:.4f}, or "
        "{high:.4f}, of {plain:.4f} before.",
        {
            "unequal": unequal,
            "distance": distance.mean(),
            "low": mass[1],
            "high": mass[5],
            "plain": plain,
        },
        Picture(
            "Equal probabilities, unequal repetition penalties (1.2)",
            "constant that is added to all logits",
            "probability of the prompt's tokens",
            shifts,
            {"penalised": np.array(mass), "before": np.full(len(shifts), plain)},
            log_y=True,
        ),
    )


@CLAIMS.about(
    "repetition_penalty",
    "equation",
    "Tokens that occurred in the input are held back.",
    vague="how is not said: a positive logit is divided, a negative one multiplied",
)
def _repetition_equation(lab: Lab) -> Measured:
    rows = lab.rows.logits.astype(np.float64)
    occurs = np.zeros(rows.shape, bool)
    for row, ids in zip(occurs, lab.rows.prompt_ids, strict=True):
        row[ids.astype(np.intp)] = True
    positive, negative = int((rows[occurs] > 0).sum()), int((rows[occurs] < 0).sum())
    expected = np.where(occurs, np.where(rows > 0, rows / 1.3, rows * 1.3), rows)
    after = lab.logits(rows, {"repetition_penalty": 1.3}, lab.context)
    worst = float(np.abs(after - expected).max())
    return Measured(
        worst < 1e-12 and positive > 0 and negative > 0,
        "At 1.3, the {positive} positive logits of prompt tokens are divided and the {negative} "
        "negative ones multiplied (off by {worst:.1g}); no other logit changes.",
        {"positive": positive, "negative": negative, "worst": worst},
    )


@CLAIMS.about(
    "repetition_penalty",
    "below_one",
    "Values go down to 0.",
    vague="below 1 it rewards repetition, and 0 would divide by 0: the limit is meant here",
)
def _below_one(lab: Lab) -> Measured:
    one, below, zero = _prompt_mass(lab, "repetition_penalty", [1.0, 0.9, 0.0])
    rising = (below > one) & (zero >= below)
    return Measured(
        bool(rising.all()) and bool(np.isfinite(zero).all()),
        "The prompt's tokens have {one:.3f} of the probability at 1, {below:.3f} at 0.9 and "
        "{zero:.3f} at 0 on average; it rises on {rising} of {rows} rows, and all numbers are "
        "finite.",
        {
            "one": one.mean(),
            "below": below.mean(),
            "zero": zero.mean(),
            "rising": rising.sum(),
            "rows": len(rising),
        },
    )


CLAIMS.add_neutral("repetition_penalty", 1.0, "The default is 1: nothing is held back.")
