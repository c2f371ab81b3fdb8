"""Claims about temperature."""

from __future__ import annotations

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.neutral import add_neutral
from logitlab.claims.truth import LEVEL, are_larger, entropies, recorded

__all__ = ["CLAIMS"]

CLAIMS = Family()


@CLAIMS.about(
    "temperature", "variety",
    "Lower values make the answer more predictable, higher ones more diverse.",
)  # fmt: skip
def _variety(lab: Lab) -> Measured:
    values = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    rows = lab.rows.logits[::4]
    found = np.array([entropies(lab.logits({"temperature": t}, rows)) for t in values])
    rising = int((np.diff(found, axis=0) > 0).all(axis=0).sum())
    mean = found.mean(axis=1)
    return Measured(
        rising == len(rows),
        "From temperature 0.25 to 2 the entropy rises at every step on {rising} of {rows} rows: "
        "{low:.2f} nats at 0.25, {one:.2f} at 1, {high:.2f} at 2 on average.",
        {"rising": rising, "rows": len(rows), "low": mean[0], "one": mean[3], "high": mean[-1]},
        Picture(
            "Entropy of real next-token distributions", "temperature", "entropy in nats", values,
            {"mean of 5 rows": mean, "lowest": found.min(axis=1), "highest": found.max(axis=1)},
        ),
    )  # fmt: skip


@CLAIMS.about(
    "temperature", "equation",
    "The value influences how varied the answers are.",
    vague="by how much is not said; every logit is divided by it",
)  # fmt: skip
def _equation(lab: Lab) -> Measured:
    rows = lab.rows.logits[:5].astype(np.float64)
    worst = 0.0
    for t in (0.3, 0.8, 1.7):
        gap = lab.logits({"temperature": t}, rows)
        gap = gap - gap.max(axis=-1, keepdims=True)
        expected = (rows - rows.max(axis=-1, keepdims=True)) / t
        worst = max(worst, float(np.abs(gap - expected).max()))
    return Measured(
        worst < 1e-11,
        "Log-odds between tokens are those of the model divided by T: off by {worst:.1g} at most.",
        {"worst": worst},
    )


@CLAIMS.about(
    "temperature", "uncommon",
    "Lower values give typical answers, higher ones less common answers.",
)  # fmt: skip
def _uncommon(lab: Lab) -> Measured:
    values = [0.5, 1.0, 1.5]
    requests = [{"temperature": t, "seed": 1, "max_tokens": 12, "logprobs": True} for t in values]
    answers = lab.generate("Once upon a time", requests, n=12)
    typical = [float(a.logprobs.logprobs.mean()) for a in answers if a.logprobs is not None]
    cold, one, hot = (typical[i * 12 : (i + 1) * 12] for i in range(3))
    p = max(are_larger(cold, one), are_larger(one, hot))
    return Measured(
        p < LEVEL,
        "In 12 texts each, the model's own log-probability of a drawn token is {cold:.2f} at 0.5, "
        "{one:.2f} at 1 and {hot:.2f} at 1.5 (rank tests, p = {p:.0e}).",
        {"cold": float(np.mean(cold)), "one": float(np.mean(one)), "hot": float(np.mean(hot)),
         "p": p},
    )  # fmt: skip


@CLAIMS.about("temperature", "zero", "With 0 the same input always gives the same answer.")
def _zero(lab: Lab) -> Measured:
    def texts(temperature: float) -> set[str]:
        request = {"temperature": temperature, "max_tokens": 8}
        return {a.text for a in lab.generate("Once upon a time", request, seed=list(range(12)))}

    rows = lab.rows.logits
    best = recorded().argmax(axis=-1)
    drawn = lab.draw({"temperature": 0, "seed": 3}, rows, size=10)
    greedy = int((drawn == best[:, None]).all(axis=1).sum())
    zero, one = len(texts(0)), len(texts(1))
    return Measured(
        zero == 1 and one > 1 and greedy == len(rows),
        "12 seeds write {zero} text at 0, and {one} at 1; on {greedy} of {rows} rows all draws are "
        "the most likely token.",
        {"zero": zero, "one": one, "greedy": greedy, "rows": len(rows)},
    )


add_neutral(CLAIMS, "temperature", 1.0, "1 is the default: the model's own distribution.")
