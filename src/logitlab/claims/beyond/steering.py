"""Claims about what steers a whole text: mirostat, adaptive-p, guidance, a watermark."""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture, Source
from logitlab.claims.lab import Lab
from logitlab.claims.truth import (
    LEVEL,
    Floats,
    are_larger,
    changed_bits,
    probabilities,
    ranking,
    recorded_probs,
    repeated_share,
)
from logitlab.steps.context import Context
from logitlab.steps.watermark import detect_watermark

__all__ = ["CLAIMS"]

CLAIMS = Family()
_BASU = Source.paper("Basu et al.", "2007.14966")
_ADAPTIVE = Source.thread("MrJackSpade and ddh0", "ggml-org/llama.cpp", 17927)
_SANCHEZ = Source.paper("Sanchez et al.", "2306.17806")
_KIRCHENBAUER = Source.paper("Kirchenbauer et al.", "2301.10226")
_ROW = 3


def _endless(lab: Lab, **more: Any) -> dict[str, Any]:
    """Return a request for texts that do not end."""
    return {"max_tokens": 80, "seed": 5, "suppress_tokens": [*lab.forgetful.end_ids], **more}


def _surprises(lab: Lab, request: dict[str, Any], n: int = 2) -> Floats:
    """Return the surprise of each token that was drawn, in bits, shape (texts, T)."""
    answers = lab.generate(
        "The king",
        {**_endless(lab, **request), "logprobs": True},
        n=n,
        model=lab.forgetful,
        logprobs_mode="processed",
    )
    return np.array([-a.logprobs.logprobs / np.log(2) for a in answers if a.logprobs is not None])


@CLAIMS.about(
    "mirostat",
    "settles",
    "The surprise of the text settles at the target that is given, whatever the length.",
    vague="up to what the model's own texts have; for more, mu climbs without end",
    source=_BASU,
)
def _mirostat_settles(lab: Lab) -> Measured:
    targets = [2.0, 3.0, 4.0]
    bits = np.array([_surprises(lab, {"mirostat": 2, "mirostat_tau": tau}) for tau in targets])
    late = bits[:, :, 30:].mean(axis=(1, 2))
    own = float(_surprises(lab, {}).mean())
    beyond = float(_surprises(lab, {"mirostat": 2, "mirostat_tau": own + 4})[:, 30:].mean())
    error = float(np.abs(late - targets).max())
    window = np.array([bits[..., i : i + 20].mean(axis=(1, 2)) for i in range(bits.shape[2] - 19)])
    return Measured(
        error < 0.2 and beyond < own + 1,
        "From the 31st token on, two texts each surprise by {two:.2f}, {three:.2f} and {four:.2f} "
        "bits a token at targets of 2, 3 and 4. The model's own texts have {own:.2f}: at a target "
        "of 4 more they have {beyond:.2f}.",
        {"two": late[0], "three": late[1], "four": late[2], "own": own, "beyond": beyond},
        Picture(
            "Surprise of 20 tokens under mirostat 2, mean of two texts",
            "first of the tokens",
            "bits",
            np.arange(1, len(window) + 1),
            {f"mirostat_tau {tau:g}": window[:, i] for i, tau in enumerate(targets)},
        ),
    )


@CLAIMS.about(
    "mirostat",
    "zipf",
    "Tokens follow Zipf's law: its exponent, estimated from the likeliest, says where to cut.",
    vague="the estimates scatter from row to row; it is the feedback that makes up for them",
    source=_BASU,
)
def _mirostat_zipf(lab: Lab) -> Measured:
    targets = [2.0, 4.0]
    bits = [_surprises(lab, {"mirostat": 1, "mirostat_tau": tau})[:, 30:] for tau in targets]
    late = np.array([one.mean() for one in bits])
    # The estimate of the paper: least squares over the ratios of the first hundred tokens.
    log_p = np.log(np.take_along_axis(recorded_probs(), ranking()[:, :100], axis=-1))
    t = np.log(np.arange(2, 101) / np.arange(1, 100))
    exponents = -(np.diff(log_p) * t).sum(axis=-1) / (t**2).sum()
    return Measured(
        bool((np.abs(late - targets) < 0.25).all()),
        "The exponents of 20 real rows are {least:.1f} to {most:.1f}. Cut by them, two texts each "
        "surprise by {two:.2f} and {four:.2f} bits a token at targets of 2 and 4, from the 31st "
        "token on.",
        {"least": exponents.min(), "most": exponents.max(), "two": late[0], "four": late[1]},
    )


@CLAIMS.about(
    "mirostat",
    "repetition",
    "Repetition falls with the target, almost in a line.",
    source=_BASU,
)
def _mirostat_repetition(lab: Lab) -> Measured:
    targets = [1.0, 2.0, 3.5, 5.0]
    request = _endless(lab, mirostat=2, max_tokens=60)
    shares = []
    for tau in targets:
        texts = lab.tokens("The king", {**request, "mirostat_tau": tau}, n=3, model=lab.forgetful)
        shares.append(float(np.mean([repeated_share([], text) for text in texts])))
    line = float(np.corrcoef(targets, shares)[0, 1]) if np.ptp(shares) else 0.0
    return Measured(
        line < -0.95 and bool((np.diff(shares) < 0).all()),
        "Of 60 tokens {one:.0%} occurred before at a target of 1 bit, {two:.0%} at 2, {five:.0%} "
        "at 5 (three texts each): the correlation is {line:.3f}.",
        {"one": shares[0], "two": shares[1], "five": shares[-1], "line": line},
        Picture(
            "Tokens that occurred before, in texts of 60",
            "mirostat_tau in bits",
            "share of the tokens",
            targets,
            {"mean of three texts": shares},
        ),
    )


@CLAIMS.about(
    "adaptive_target",
    "near",
    "It favours tokens whose probability is near the target, likelier ones and others do worse.",
    source=_ADAPTIVE,
)
def _adaptive_near(lab: Lab) -> Measured:
    rows, p = lab.rows.logits.astype(np.float64), recorded_probs()
    targets = [0.05, 0.2, 0.4, 0.8]
    right, worst = 0, 0.0
    for target in targets:
        after = lab.logits(rows, {"adaptive_target": target})
        far = np.abs(p - target) / 0.3
        chosen = np.take_along_axis(far, after.argmax(axis=-1)[:, None], axis=-1)[:, 0]
        right += int((chosen == far.min(axis=-1)).sum())
        worst = max(worst, float(np.abs(after - (5 - 10 * far**2 / (1 + far))).max()))
    cases = len(targets) * len(rows)
    after = probabilities(lab.logits(rows[_ROW], {"adaptive_target": 0.2}))
    best = ranking()[_ROW, :10]
    cut = probabilities(lab.logits(rows[_ROW], {"adaptive_target": 0.2, "top_k": 10}))
    return Measured(
        right == cases and worst < 1e-9,
        "In {right} of {cases} cases (targets 0.05 to 0.8) the token nearest to the target becomes "
        "the likeliest; d away, in parts of 0.3, a logit is 5 - 10 d² / (1 + d), to {worst:.1g}. "
        "In a story the ten best tokens then have {share:.1%} in all: a truncation belongs before "
        "it.",
        {"right": right, "cases": cases, "worst": worst, "share": after[best].sum()},
        Picture(
            "The ten best tokens of a story, with target 0.2",
            "rank",
            "probability",
            [str(i + 1) for i in range(10)],
            {"top_k 10": probabilities(rows[_ROW, best]), "and adaptive_target 0.2": cut[best]},
            "bars",
        ),
    )


@CLAIMS.about(
    "adaptive_target",
    "average",
    "The probabilities of what is chosen approach the target on average.",
    vague="after a truncation, and where there are tokens as likely as that; else far from it",
    source=_ADAPTIVE,
)
def _adaptive_average(lab: Lab) -> Measured:
    targets = [0.2, 0.4, 0.6, 0.9]
    means = [_mean_probability(lab, 0.05, adaptive_target=target) for target in targets]
    plain, uncut = _mean_probability(lab, 0.05), _mean_probability(lab, 0.0, adaptive_target=0.4)
    error = float(np.abs(np.subtract(means, targets))[:3].max())
    return Measured(
        error < 0.07 and uncut < 0.3 and means[3] < 0.8,
        "After min_p 0.05 tokens of {plain:.2f} are drawn on average; with targets of 0.2, 0.4 and "
        "0.6 of {low:.2f}, {middle:.2f} and {high:.2f}, with 0.9 of {most:.2f}. Without min_p and "
        "with 0.4 of {uncut:.2f}.",
        {
            "plain": plain,
            "low": means[0],
            "middle": means[1],
            "high": means[2],
            "most": means[3],
            "uncut": uncut,
        },
        Picture(
            "Probability of what is drawn after min_p 0.05",
            "adaptive_target",
            "mean of 150 tokens",
            targets,
            {"drawn": means, "the target": targets},
        ),
    )


def _mean_probability(lab: Lab, min_p: float, **request: Any) -> float:
    """Return the mean probability of the tokens of three texts, in what min_p leaves."""
    begin = {"min_p": min_p, **request, "seed": 5, "max_tokens": 50}
    answers = lab.generate("The king", {**begin, "suppress_tokens": [*lab.model.end_ids]}, n=3)
    drawn = []
    for answer in answers:
        tokens = answer.tokens.tolist()
        rows = _rows_of(lab, [*answer.prompt.tolist(), *tokens], len(tokens))
        rows[:, [*lab.model.end_ids]] = -np.inf
        p = probabilities(rows)
        kept = np.where(p >= min_p * p.max(axis=-1, keepdims=True), p, 0)
        drawn.append(kept[np.arange(len(tokens)), tokens] / kept.sum(axis=-1))
    return float(np.concatenate(drawn).mean())


def _rows_of(lab: Lab, text: list[int], count: int) -> Floats:
    """Return the model's logits at each of the last tokens of a text."""
    texts = [text[:i] for i in range(len(text) - count, len(text))]
    return np.asarray(lab.model.advance([lab.model.start() for _ in texts], texts), np.float64)


@CLAIMS.about(
    "guidance_scale",
    "equation",
    "What the prompt changes, against another one, is raised to the power of the scale.",
    source=_SANCHEZ,
)
def _guidance_equation(lab: Lab) -> Measured:
    rows = lab.rows.logits[::2].astype(np.float64)
    context = Context(unconditional=lab.rows.logits[1::2].astype(np.float64))
    p, other = recorded_probs()[::2], recorded_probs()[1::2]
    worst = 0.0
    for scale in (-1.0, 0.0, 0.5, 1.5, 3.0):
        guided = probabilities(lab.logits(rows, {"guidance_scale": scale}, context))
        power = scale * np.log(p) + (1 - scale) * np.log(other)
        worst = max(worst, float(np.abs(guided - probabilities(power)).max()))
    changed = changed_bits(lab.logits(rows, {"guidance_scale": 1.0}, context), rows)
    best = int((probabilities(power).argmax(axis=-1) == p.argmax(axis=-1)).sum())
    return Measured(
        worst < 1e-9 and changed == 0,
        "On 10 pairs of real rows p is c^g u^(1-g), renormalised, for scales of -1 to 3, to "
        "{worst:.0e}; 0 is the other prompt, 1 changes {changed} bits. At 3 the best token is that "
        "of the prompt alone on {best} of 10: what both find likely falls.",
        {"worst": worst, "changed": changed, "best": best},
    )


@CLAIMS.about(
    "guidance_scale",
    "adherence",
    "The text keeps closer to the prompt.",
    vague="closer is how much likelier the prompt makes it, as long as the model remembers one",
    source=_SANCHEZ,
)
def _guidance_adherence(lab: Lab) -> Measured:
    model, scales = lab.model, [1.0, 1.5, 3.0]
    prompt = model.encode("Once upon a time there was a")
    gains = []
    for scale in scales:
        request = {"guidance_scale": scale, "seed": 8, "max_tokens": 3}
        texts = lab.tokens(prompt, request, n=30)
        log_c, log_u = (
            _logprobs_of(lab, [[*begin, *text] for text in texts], list(map(len, texts)))
            for begin in (prompt, prompt[-1:])
        )
        gains.append(log_c - log_u)
    p = are_larger(gains[2], gains[0])
    means = [float(gain.mean()) for gain in gains]
    return Measured(
        p < LEVEL and means[0] < means[1] < means[2],
        "The prompt makes three tokens after it likelier by {one:.2f} nats on average at a scale "
        "of 1, by {more:.2f} at 1.5 and by {most:.2f} at 3, than its last word alone (30 texts "
        "each, rank test, p = {p:.0e}).",
        {"one": means[0], "more": means[1], "most": means[2], "p": p},
        Picture(
            "How much likelier the prompt makes three tokens, mean of 30 texts",
            "guidance_scale",
            "nats",
            [f"{scale:g}" for scale in scales],
            {"gain": means},
            "bars",
        ),
    )


def _logprobs_of(lab: Lab, texts: list[list[int]], counts: list[int]) -> Floats:
    """Return the log-probability of the last tokens of each text, so many, in nats."""
    return np.array(
        [
            np.log(probabilities(_rows_of(lab, text, n)))[np.arange(n), text[len(text) - n :]].sum()
            for text, n in zip(texts, counts, strict=True)
        ]
    )


def _marks(lab: Lab, texts: int, length: int, **request: Any) -> Any:
    """Let a model write, and return which tokens are green, shape (texts, T)."""
    begin = {"seed": 3, "max_tokens": length, "suppress_tokens": [*lab.model.end_ids]}
    answers = lab.generate("The king", {**begin, **request}, n=texts)
    size = len(lab.model.vocabulary)
    return np.array(
        [detect_watermark(a.tokens, size, prompt=a.prompt).is_green for a in answers], np.float64
    )


def _z_scores(green: Any) -> Floats:
    """Return Kirchenbauer's z of every beginning of texts, for a quarter of green tokens."""
    length = np.arange(1, green.shape[1] + 1)
    z: Floats = (np.cumsum(green, axis=1) - 0.25 * length) / np.sqrt(length * 0.25 * 0.75)
    return z


@CLAIMS.about(
    "watermarking_config",
    "length",
    "The z-score grows with the root of the length; an unmarked text stays below 4.",
    source=_KIRCHENBAUER,
)
def _watermark_length(lab: Lab) -> Measured:
    marked = _z_scores(_marks(lab, 4, 160, watermarking_config={"bias": 2.0}))
    free = _z_scores(_marks(lab, 4, 160))
    mean = marked.mean(axis=0)
    found = int((marked >= 4).argmax(axis=1).max()) + 1
    growth = mean[159] / mean[39]
    return Measured(
        bool(free.max() < 4 < marked[:, -1].min()) and 1.5 < growth < 2.7,
        "With a bias of 2 four texts have a z of {forty:.1f} on average after 40 tokens and of "
        "{whole:.1f} after 160, {growth:.1f} times as much (the root says 2); the last of them "
        "reaches 4 after {found} tokens. Of four unmarked ones none is ever above {free:.1f}.",
        {
            "forty": mean[39],
            "whole": mean[159],
            "growth": growth,
            "found": found,
            "free": free.max(),
        },
        Picture(
            "Score of a watermark, mean of four texts",
            "tokens",
            "z",
            np.arange(1, 161),
            {"marked": mean, "unmarked": free.mean(axis=0), "4": np.full(160, 4.0)},
        ),
    )


@CLAIMS.about(
    "watermarking_config",
    "entropy",
    "Text of low entropy is hard to mark: what is certain stays as it is.",
    source=_KIRCHENBAUER,
)
def _watermark_entropy(lab: Lab) -> Measured:
    temperatures = [0.3, 1.0]
    green = [
        _marks(lab, 4, 50, watermarking_config={"bias": 2.0}, temperature=t).mean(axis=1)
        for t in temperatures
    ]
    means = [float(share.mean()) for share in green]
    return Measured(
        max(green[0]) < min(green[1]),
        "Of the tokens of marked texts {cold:.0%} are green at temperature 0.3 and {warm:.0%} at "
        "1, where chance gives 25%.",
        {"cold": means[0], "warm": means[1]},
        Picture(
            "Green tokens of four marked texts",
            "temperature",
            "share of the tokens",
            [f"{t:g}" for t in temperatures],
            {"mean": means, "least": [min(share) for share in green]},
            "bars",
        ),
    )
