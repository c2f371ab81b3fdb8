"""Claims about logit_bias."""

from __future__ import annotations

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.truth import changed_bits, probabilities, ranked

__all__ = ["CLAIMS"]

CLAIMS = Family()


@CLAIMS.about(
    "logit_bias", "added", "The value is added to the model's logit before anything is drawn."
)
def _added(lab: Lab) -> Measured:
    rows, order = lab.rows.logits, ranked()
    changed = wins = 0
    for row, places in zip(rows, order, strict=True):
        low, middle, high = (int(places[i]) for i in (-1, 1000, 0))
        expected = row.astype(np.float64)
        expected[[low, middle, high]] += [100.0, 0.7, -2.5]
        request = {"logit_bias": {str(low): 100, str(middle): 0.7, str(high): -2.5}}
        changed += changed_bits(lab.logits(request, row), expected.astype(row.dtype))
        wins += lab.logits({**request, "top_k": 1}, row).argmax() == low
    return Measured(
        changed == 0 and wins == len(rows),
        "Three biases on each of {rows} rows: {changed} logits differ from the sums by a bit. With "
        "100 and top_k 1 the least likely token wins on {wins} of {rows}: truncations come later.",
        {"rows": len(rows), "changed": changed, "wins": int(wins)},
    )


@CLAIMS.about(
    "logit_bias", "unit",
    "Values between -1 and 1 make a token somewhat more or less likely.",
    vague="by how much is not said; the token's odds are multiplied by e to the value",
)  # fmt: skip
def _unit(lab: Lab) -> Measured:
    values = [-100.0, -20.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 100.0]
    row = lab.rows.logits[3].astype(np.float64)
    token = int(ranked()[3, 5])
    rest = np.delete(np.arange(len(row)), token)
    odds, shares = [], []
    for value in values:
        p = probabilities(lab.logits({"logit_bias": {token: value}}, row))
        odds.append(p[token] / p[rest].sum())
        shares.append(p[token])
    less, one, more = odds[5] / odds[6], odds[6] / odds[6], odds[7] / odds[6]
    worst = max(abs(np.log(odds[i] / odds[6]) - values[i]) for i in range(len(values)))
    return Measured(
        worst < 1e-9 and less < one < more,
        "For a token of probability {before:.3f}, -1 multiplies the odds by {less:.4f} and 1 by "
        "{more:.4f}, which are e to -1 and 1; that law holds up to ±100, to {worst:.1g}.",
        {"before": shares[6], "less": less, "more": more, "worst": float(worst)},
        Picture(
            "One token's probability under a bias", "logit_bias", "probability", values[1:-1],
            {"the sixth token of a story": np.array(shares[1:-1])},
        ),
    )  # fmt: skip


@CLAIMS.about(
    "logit_bias", "hundred",
    "-100 or 100 should ban a token or make it the only choice.",
    vague="it is no mask: nothing is removed, and where all are biased alike nothing happens",
)  # fmt: skip
def _hundred(lab: Lab) -> Measured:
    rows, order = lab.rows.logits.astype(np.float64), ranked()
    left, won = [], []
    for row, places in zip(rows, order, strict=True):
        best, worst = int(places[0]), int(places[-1])
        left.append(probabilities(lab.logits({"logit_bias": {best: -100}}, row))[best])
        rest = np.delete(probabilities(lab.logits({"logit_bias": {worst: 100}}, row)), worst)
        won.append(rest.sum())
    spread = float((rows.max(axis=-1) - rows.min(axis=-1)).max())
    # Counter-examples: a ban of all is none, and four times as sharp a model is not overruled.
    some = rows[3, order[3, :50]]
    everything = lab.logits({"logit_bias": dict.fromkeys(range(50), -100)}, some)
    banned = float(np.abs(probabilities(everything) - probabilities(some)).max())
    last = int(order[5, -1])
    overruled = probabilities(lab.logits({"logit_bias": {last: 100}}, rows[5] * 4))[last]
    return Measured(
        0 < max(left) < 1e-20 and max(won) < 1e-20 and banned < 1e-12 and overruled < 1e-20,
        "On real rows (logits spread by {spread:.0f} at most) -100 leaves the best token "
        "{left:.0e} and 100 leaves all others {won:.0e} at most: never drawn. But a ban of all 50 "
        "candidates moves nothing ({banned:.1g}), and on logits 4 times as large 100 does not lift "
        "the last token ({overruled:.0e}).",
        {"spread": spread, "left": max(left), "won": max(won), "banned": banned,
         "overruled": overruled},
    )  # fmt: skip
