"""Claims about a request as a whole, and about what acts on each logit: temperature, logit_bias."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from logitlab.claims.claim import GENERAL, Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.truth import (
    LEVEL,
    Floats,
    are_larger,
    changed_bits,
    entropies,
    mean_logprobs,
    probabilities,
    ranking,
    recorded_probs,
    survivors,
)
from logitlab.engines.compare import compare_engines
from logitlab.request.params import PARAMETERS

__all__ = ["CLAIMS"]

CLAIMS = Family()


@CLAIMS.about(
    GENERAL,
    "defaults",
    "A parameter that the request leaves out has the default that the page lists.",
)
def _defaults(lab: Lab) -> Measured:
    rows, context = lab.rows.logits, lab.context
    defaults: dict[str, Any] = {
        key: parameter.default
        for key, parameter in PARAMETERS.items()
        if parameter.role == "distribution" and parameter.default is not None
    }
    absent = lab.logits(rows, {}, context)
    changed = changed_bits(absent, lab.logits(rows, defaults, context))
    removed = rows.size - int(survivors(absent).sum())
    compared = compare_engines(rows[3], {})
    fewer = int((compared.kept < rows.shape[1]).sum())
    return Measured(
        changed == removed == 0,
        "An empty request and one that spells out all defaults differ in {changed} bits and remove "
        "{removed} tokens. (Of {engines} engines {fewer} truncate by themselves: they have "
        "defaults of their own.)",
        {"changed": changed, "removed": removed, "engines": len(compared.engines), "fewer": fewer},
    )


@CLAIMS.about(
    GENERAL,
    "passed_through",
    "Parameters that only one provider knows are passed on as they are.",
)
def _passed_through(lab: Lab) -> Measured:
    own: dict[str, Any] = {
        "safe_prompt": True,
        "raw_mode": {"depth": [1, None, "x"]},
        "cache_salt": "a",
    }
    request = {"temperature": 0.5, **own}
    read = lab.params(request).to_request()
    same = sum(read.get(key) == value for key, value in own.items())
    rows = lab.rows.logits[:4]
    changed = changed_bits(lab.logits(rows, request), lab.logits(rows, {"temperature": 0.5}))
    return Measured(
        same == len(own) and changed == 0,
        "{same} of {keys} foreign keys come out of the request as they went in, and they change "
        "{changed} bits of the logits.",
        {"same": same, "keys": len(own), "changed": changed},
    )


@CLAIMS.about(
    "temperature",
    "variety",
    "Lower values make the answer more predictable, higher ones more diverse.",
)
def _variety(lab: Lab) -> Measured:
    values = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    rows = lab.rows.logits[::4]
    entropy = np.array([entropies(lab.logits(rows, {"temperature": t})) for t in values])
    rising = int((np.diff(entropy, axis=0) > 0).all(axis=0).sum())
    mean = entropy.mean(axis=1)
    return Measured(
        rising == len(rows),
        "From temperature 0.25 to 2 the entropy rises at every step on {rising} of {rows} rows: "
        "{low:.2f} nats at 0.25, {one:.2f} at 1, {high:.2f} at 2 on average.",
        {"rising": rising, "rows": len(rows), "low": mean[0], "one": mean[3], "high": mean[-1]},
        Picture(
            "Entropy of real next-token distributions",
            "temperature",
            "entropy in nats",
            values,
            {"mean of 5 rows": mean, "lowest": entropy.min(axis=1), "highest": entropy.max(axis=1)},
        ),
    )


@CLAIMS.about(
    "temperature",
    "equation",
    "The value influences how varied the answers are.",
    vague="by how much is not said; every logit is divided by it",
)
def _temperature_equation(lab: Lab) -> Measured:
    def shifted(logits: Any) -> Any:
        return logits - logits.max(axis=-1, keepdims=True)

    rows = lab.rows.logits[:5].astype(np.float64)
    after = {t: shifted(lab.logits(rows, {"temperature": t})) for t in (0.3, 0.8, 1.7)}
    worst = max(float(np.abs(gaps - shifted(rows) / t).max()) for t, gaps in after.items())
    return Measured(
        worst < 1e-11,
        "Log-odds between tokens are those of the model divided by T: off by {worst:.1g} at most.",
        {"worst": worst},
    )


@CLAIMS.about(
    "temperature",
    "uncommon",
    "Lower values give typical answers, higher ones less common answers.",
)
def _uncommon(lab: Lab) -> Measured:
    def typical(temperature: float) -> list[float]:
        request = {"temperature": temperature, "seed": 1, "max_tokens": 12, "logprobs": True}
        return mean_logprobs(lab.generate("Once upon a time", request, n=12))

    cold, one, hot = map(typical, (0.5, 1.0, 1.5))
    p = max(are_larger(cold, one), are_larger(one, hot))
    return Measured(
        p < LEVEL,
        "In 12 texts each, the model's own log-probability of a drawn token is {cold:.2f} at 0.5, "
        "{one:.2f} at 1 and {hot:.2f} at 1.5 (rank tests, p = {p:.0e}).",
        {
            "cold": float(np.mean(cold)),
            "one": float(np.mean(one)),
            "hot": float(np.mean(hot)),
            "p": p,
        },
    )


@CLAIMS.about("temperature", "zero", "With 0 the same input always gives the same answer.")
def _zero(lab: Lab) -> Measured:
    def texts(temperature: float) -> set[str]:
        request = {"temperature": temperature, "max_tokens": 8}
        return {a.text for a in lab.generate("Once upon a time", request, seed=list(range(12)))}

    rows = lab.rows.logits
    best = recorded_probs().argmax(axis=-1, keepdims=True)
    tokens = lab.draw(rows, {"temperature": 0, "seed": 3}, size=10)
    greedy = int((tokens == best).all(axis=1).sum())
    zero, one = len(texts(0)), len(texts(1))
    return Measured(
        zero == 1 and one > 1 and greedy == len(rows),
        "12 seeds write {zero} text at 0, and {one} at 1; on {greedy} of {rows} rows all draws are "
        "the most likely token.",
        {"zero": zero, "one": one, "greedy": greedy, "rows": len(rows)},
    )


CLAIMS.add_neutral("temperature", 1.0, "1 is the default: the model's own distribution.")


@CLAIMS.about(
    "logit_bias", "added", "The value is added to the model's logit before anything is drawn."
)
def _added(lab: Lab) -> Measured:
    rows = lab.rows.logits
    changed = wins = 0
    for row, order in zip(rows, ranking(), strict=True):
        low, middle, high = order[[-1, 1000, 0]].tolist()
        expected = row.astype(np.float64)
        expected[[low, middle, high]] += [100.0, 0.7, -2.5]
        request = {"logit_bias": {str(low): 100, str(middle): 0.7, str(high): -2.5}}
        changed += changed_bits(lab.logits(row, request), expected.astype(row.dtype))
        wins += lab.logits(row, {**request, "top_k": 1}).argmax() == low
    return Measured(
        changed == 0 and wins == len(rows),
        "Three biases on each of {rows} rows: {changed} logits differ from the sums by a bit. With "
        "100 and top_k 1 the least likely token wins on {wins} of {rows}: truncations come later.",
        {"rows": len(rows), "changed": changed, "wins": int(wins)},
    )


@CLAIMS.about(
    "logit_bias",
    "unit",
    "Values between -1 and 1 make a token somewhat more or less likely.",
    vague="by how much is not said; the token's odds are multiplied by e to the value",
)
def _unit(lab: Lab) -> Measured:
    values = [-100.0, -20.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 100.0]
    row = lab.rows.logits[3].astype(np.float64)
    token = int(ranking()[3, 5])
    probs = [probabilities(lab.logits(row, {"logit_bias": {token: value}})) for value in values]
    shares = np.array([p[token] for p in probs])
    odds = shares / [np.delete(p, token).sum() for p in probs]
    less, more = odds[[5, 7]] / odds[6]
    worst = np.abs(np.log(odds / odds[6]) - values).max()
    return Measured(
        worst < 1e-9 and less < 1 < more,
        "For a token of probability {before:.3f}, -1 multiplies the odds by {less:.4f} and 1 by "
        "{more:.4f}, which are e to -1 and 1; that law holds up to ±100, to {worst:.1g}.",
        {"before": shares[6], "less": less, "more": more, "worst": float(worst)},
        Picture(
            "One token's probability under a bias",
            "logit_bias",
            "probability",
            values[1:-1],
            {"the sixth token of a story": shares[1:-1]},
        ),
    )


@CLAIMS.about(
    "logit_bias",
    "hundred",
    "-100 or 100 should ban a token or make it the only choice.",
    vague="it is no mask: nothing is removed, and where all are biased alike nothing happens",
)
def _hundred(lab: Lab) -> Measured:
    def with_bias(row: Floats, tokens: Iterable[int], bias: float) -> Floats:
        return probabilities(lab.logits(row, {"logit_bias": dict.fromkeys(tokens, bias)}))

    rows, order = lab.rows.logits.astype(np.float64), ranking()
    left = rest = 0.0
    for row, best, worst in zip(rows, order[:, 0].tolist(), order[:, -1].tolist(), strict=True):
        left = max(left, with_bias(row, [best], -100)[best])
        rest = max(rest, np.delete(with_bias(row, [worst], 100), worst).sum())
    spread = float((rows.max(axis=-1) - rows.min(axis=-1)).max())
    # Counter-examples: a ban of all is none, and four times as sharp a model is not overruled.
    some = rows[3, order[3, :50]]
    banned = float(np.abs(with_bias(some, range(50), -100) - probabilities(some)).max())
    last = int(order[5, -1])
    overruled = with_bias(rows[5] * 4, [last], 100)[last]
    return Measured(
        0 < left < 1e-20 and rest < 1e-20 and banned < 1e-12 and overruled < 1e-20,
        "On real rows (logits spread by {spread:.0f} at most) -100 leaves the best token "
        "{left:.0e} and 100 leaves all others {won:.0e} at most: never drawn. But a ban of all 50 "
        "candidates moves nothing ({banned:.1g}), and on logits 4 times as large 100 does not lift "
        "the last token ({overruled:.0e}).",
        {"spread": spread, "left": left, "won": rest, "banned": banned, "overruled": overruled},
    )
