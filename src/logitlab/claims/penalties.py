"""Claims about what has occurred: frequency, presence and repetition penalty."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from logitlab.checks import ParameterError
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.neutral import add_neutral
from logitlab.claims.truth import (
    LEVEL,
    are_larger,
    changed_bits,
    mass_of,
    probabilities,
    ranked,
    repeated_share,
)
from logitlab.engines import MAIN, get
from logitlab.steps.context import Context
from numpy.typing import NDArray

__all__ = ["CLAIMS"]

CLAIMS = Family()
_ROW = 3
_TEXTS = 16
_PROMPT = (
    "The king and the queen went into the forest, and the old woman said to him that she was in "
    "the house of the wolf."
)


def _counted() -> tuple[Context, NDArray[np.int64]]:
    """Return a context in which the five best tokens of a row occur one to five times."""
    tokens = ranked()[_ROW, :5]
    return Context(prompt=np.repeat(tokens, np.arange(1, 6))), tokens


def _drops(lab: Lab, key: str, value: float) -> tuple[NDArray[np.float64], bool]:
    """Return what a penalty takes from tokens that occur 1 to 5 times, and if others stay."""
    context, tokens = _counted()
    row = lab.rows.logits[_ROW].astype(np.float64)
    after = lab.logits({key: value}, row, context)
    others = np.delete(row, tokens)
    return row[tokens] - after[tokens], changed_bits(others, np.delete(after, tokens)) == 0


def _repeats(lab: Lab, key: str, values: list[float]) -> NDArray[np.float64]:
    """Let a model write, and return which share of each text's tokens occurred before."""
    requests = [{key: value, "seed": 2, "max_tokens": 24} for value in values]
    answers = lab.generate(_PROMPT, requests, n=_TEXTS)
    shares = [repeated_share(answer.prompt, answer.tokens) for answer in answers]
    return np.array(shares).reshape(len(values), _TEXTS)


def _prompt_mass(lab: Lab, key: str, values: list[float]) -> NDArray[np.float64]:
    """Return the probability of each prompt's own tokens, one line for each value."""
    rows, context = lab.rows.logits, lab.context
    after = (probabilities(lab.logits({key: value}, rows, context)) for value in values)
    return np.array([mass_of(probs, lab.rows.prompt_ids) for probs in after])


def _reuse(lab: Lab, key: str) -> Measured:
    values = [-2.0, 0.0, 2.0]
    shares = _repeats(lab, key, values)
    p = max(are_larger(low, high) for low, high in pairwise(shares))
    rows = lab.rows.logits
    mass = _prompt_mass(lab, key, values)
    falling = int((np.diff(mass, axis=0) < 0).all(axis=0).sum())
    low, none, high = shares.mean(axis=1)
    return Measured(
        p < LEVEL and falling == len(rows),
        "Of the tokens that are written, {low:.0%} occurred before at -2, {none:.0%} at 0, "
        "{high:.0%} at 2 (16 texts each, rank tests, p = {p:.0e}); on {falling} of {rows} rows the "
        "prompt's tokens become less likely with the value.",
        {"low": low, "none": none, "high": high, "p": p, "falling": falling, "rows": len(rows)},
        Picture(
            "Written tokens that occurred before, in 16 texts", key, "share of the tokens", values,
            {"mean": shares.mean(axis=1), "lowest": shares.min(axis=1),
             "highest": shares.max(axis=1)},
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- frequency_penalty


@CLAIMS.about(
    "frequency_penalty", "proportional",
    "A token is held back in proportion to how often it occurs.",
)  # fmt: skip
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
            "how often the token occurs", "taken from its logit", list("12345"),
            {"frequency_penalty 0.5": drops, "presence_penalty 0.5": flat}, "bars",
        ),
    )  # fmt: skip


@CLAIMS.about(
    "frequency_penalty", "reuse",
    "It makes repetition rarer; negative values encourage tokens that were used.",
)  # fmt: skip
def _frequency_reuse(lab: Lab) -> Measured:
    return _reuse(lab, "frequency_penalty")


def _scopes(row: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many engines count the output alone, and how many prompt and output."""
    inside, written = ranked()[_ROW, :2]
    context = Context(prompt=[inside], output=[written])
    alone = both = 0
    for name in MAIN:
        request = {"frequency_penalty": 1.0, "temperature": 1.0}
        try:
            penalised = get(name)(request)(row, context)
            plain = get(name)({"temperature": 1.0})(row, context)
        except ParameterError:
            continue
        taken = plain[[inside, written]] - penalised[[inside, written]]
        alone += taken[0] < 0.5 < taken[1]
        both += min(taken) > 0.5
    return int(alone), int(both)


@CLAIMS.about(
    "frequency_penalty", "input",
    "Occurrences in the input count.",
    vague="whether the answer so far is input is not said; here prompt and output both count",
)  # fmt: skip
def _input(lab: Lab) -> Measured:
    inside, written, twice = ranked()[_ROW, :3]
    row = lab.rows.logits[_ROW].astype(np.float64)
    context = Context(prompt=[inside, twice], output=[written, twice])
    after = lab.logits({"frequency_penalty": 1.0}, row, context)
    drops = (row - after)[[inside, written, twice]]
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


add_neutral(CLAIMS, "frequency_penalty", 0.0, "The default is 0: nothing is held back.")


# ---------------------------------------------------------------- presence_penalty


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


@CLAIMS.about(
    "presence_penalty", "reuse",
    "Higher values make it less likely that a used token returns, negative ones more likely.",
)  # fmt: skip
def _presence_reuse(lab: Lab) -> Measured:
    return _reuse(lab, "presence_penalty")


add_neutral(CLAIMS, "presence_penalty", 0.0, "The default is 0: nothing is held back.")


# ---------------------------------------------------------------- repetition_penalty


@CLAIMS.about("repetition_penalty", "reduces", "A higher value makes repetition less likely.")
def _reduces(lab: Lab) -> Measured:
    shares = _repeats(lab, "repetition_penalty", [1.0, 2.0])
    p = are_larger(shares[0], shares[1])
    one, high = shares.mean(axis=1)
    return Measured(
        p < LEVEL,
        "Of the tokens that are written, {one:.0%} occurred before at 1 and {high:.0%} at 2 (16 "
        "texts each, rank test, p = {p:.0e}).",
        {"one": one, "high": high, "p": p},
    )


@CLAIMS.about(
    "repetition_penalty", "coherence",
    "Too high a value makes the text less coherent.",
    vague="neither how high nor coherence is defined; measured: how likely the model finds it",
)  # fmt: skip
def _coherence(lab: Lab) -> Measured:
    requests = [
        {"repetition_penalty": value, "seed": 2, "max_tokens": 40, "logprobs": True}
        for value in (1.0, 2.0)
    ]
    answers = lab.generate(_PROMPT, requests, n=_TEXTS, model=lab.raised(20.0))
    typical = [float(a.logprobs.logprobs.mean()) for a in answers if a.logprobs is not None]
    one, high = typical[:_TEXTS], typical[_TEXTS:]
    p = are_larger(one, high)
    return Measured(
        p < LEVEL,
        "With logits raised by 20, to the size of a real model's, the model itself finds a token "
        "of its text {times:.1f} times less likely at 2 than at 1 ({one:.2f} and {high:.2f} nats, "
        "rank test, p = {p:.0e}).",
        {"one": float(np.mean(one)), "high": float(np.mean(high)), "p": p,
         "times": float(np.exp(np.mean(one) - np.mean(high)))},
    )  # fmt: skip


@CLAIMS.about(
    "repetition_penalty", "scale",
    "The penalty scales with the token's original probability.",
    wrong="it follows the logit's size and sign; models of equal probabilities are penalised "
    "differently",
)  # fmt: skip
def _scale(lab: Lab) -> Measured:
    shifts = [-40.0, -20.0, -10.0, 0.0, 10.0, 20.0, 40.0]
    chosen = [3, 8, 12, 13, 14]
    rows = lab.rows.logits[chosen].astype(np.float64)
    context = lab.context.for_rows((len(lab.rows),), np.array(chosen))
    ids = [lab.rows.prompt_ids[i] for i in chosen]
    before = probabilities(rows)
    unequal, mass, after = 0.0, [], []
    for shift in shifts:
        unequal = max(unequal, float(np.abs(probabilities(rows + shift) - before).max()))
        p = probabilities(lab.logits({"repetition_penalty": 1.2}, rows + shift, context))
        after.append(p)
        mass.append(mass_of(p, ids).mean())
    plain = mass_of(before, ids).mean()
    distance = 0.5 * np.abs(after[1] - after[5]).sum(axis=-1)
    return Measured(
        unequal < 1e-12 and float(distance.min()) > 1e-6,
        "All logits less 20 or plus 20 are the same probabilities (off by {unequal:.1g}), and 1.2 "
        "makes of them distributions {distance:.2f} apart: prompt tokens get {low:.4f}, or "
        "{high:.4f}, of {plain:.4f} before.",
        {"unequal": unequal, "distance": distance.mean(), "low": mass[1], "high": mass[5],
         "plain": plain},
        Picture(
            "Equal probabilities, unequal repetition penalties (1.2)",
            "constant that is added to all logits", "probability of the prompt's tokens", shifts,
            {"penalised": np.array(mass), "before": np.full(len(shifts), plain)}, log_y=True,
        ),
    )  # fmt: skip


@CLAIMS.about(
    "repetition_penalty", "equation",
    "Tokens that occurred in the input are held back.",
    vague="how is not said: a positive logit is divided, a negative one multiplied",
)  # fmt: skip
def _equation(lab: Lab) -> Measured:
    rows = lab.rows.logits.astype(np.float64)
    expected, positive, negative = rows.copy(), 0, 0
    for row, ids in zip(expected, lab.rows.prompt_ids, strict=True):
        for token in np.unique(ids):
            positive += row[token] > 0
            negative += row[token] < 0
            row[token] = row[token] / 1.3 if row[token] > 0 else row[token] * 1.3
    after = lab.logits({"repetition_penalty": 1.3}, rows, lab.context)
    worst = float(np.abs(after - expected).max())
    return Measured(
        worst < 1e-12 and positive > 0 and negative > 0,
        "At 1.3, the {positive} positive logits of prompt tokens are divided and the {negative} "
        "negative ones multiplied (off by {worst:.1g}); no other logit changes.",
        {"positive": positive, "negative": negative, "worst": worst},
    )


@CLAIMS.about(
    "repetition_penalty", "below_one",
    "Values go down to 0.",
    vague="below 1 it rewards repetition, and 0 would divide by 0: the limit is meant here",
)  # fmt: skip
def _below_one(lab: Lab) -> Measured:
    rows = lab.rows.logits
    one, below, zero = _prompt_mass(lab, "repetition_penalty", [1.0, 0.9, 0.0])
    rising = int(((below > one) & (zero >= below)).sum())
    return Measured(
        rising == len(rows) and bool(np.isfinite(zero).all()),
        "The prompt's tokens have {one:.3f} of the probability at 1, {below:.3f} at 0.9 and "
        "{zero:.3f} at 0 on average; it rises on {rising} of {rows} rows, and all numbers are "
        "finite.",
        {"one": one.mean(), "below": below.mean(), "zero": zero.mean(), "rising": rising,
         "rows": len(rows)},
    )  # fmt: skip


add_neutral(CLAIMS, "repetition_penalty", 1.0, "The default is 1: nothing is held back.")
