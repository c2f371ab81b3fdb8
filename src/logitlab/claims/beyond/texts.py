"""Claims about which tokens may come, and how a text ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture, Source
from logitlab.claims.lab import Lab
from logitlab.claims.truth import LEVEL, are_larger, ranking
from logitlab.steps.context import Context

__all__ = ["CLAIMS"]

CLAIMS = Family()
_VLLM = Source("vLLM, SamplingParams", "https://docs.vllm.ai/en/latest/api/vllm/sampling_params/")
_TRANSFORMERS = Source(
    "transformers, GenerationConfig",
    "https://huggingface.co/docs/transformers/main_classes/text_generation",
)
_PROMPTS = ["The king", "Once upon a time"]


def _ending(lab: Lab, **more: Any) -> dict[str, Any]:
    """Return a request for texts whose end is likely: the bias is about what tales lack."""
    return {
        "max_tokens": 60,
        "seed": 6,
        "logit_bias": dict.fromkeys(lab.model.end_ids, 8.5),
        **more,
    }


@CLAIMS.about("min_tokens", "least", "No text ends before it has so many tokens.", source=_VLLM)
def _min_tokens_least(lab: Lab) -> Measured:
    limits = [0, 10, 30]
    texts = [lab.tokens(_PROMPTS, _ending(lab, min_tokens=n), n=8) for n in limits]
    lengths = np.array([list(map(len, group)) for group in texts])
    short = (lengths < np.array(limits)[:, None]).sum(axis=-1)
    early = int((lengths[0] < limits[-1]).sum())
    return Measured(
        not short.any() and early > 0,
        "Of 16 texts whose end is made likely {early} end before their 30th token. With 10 and "
        "30 none is shorter than that ({short}); {least} tokens is the shortest with 30.",
        {"early": early, "short": short.sum(), "least": lengths[-1].min()},
        Picture(
            "Length of 16 texts whose end is made likely",
            "min_tokens",
            "tokens",
            [str(limit) for limit in limits],
            {"shortest": lengths.min(axis=-1), "mean": lengths.mean(axis=-1)},
            "bars",
        ),
    )


@CLAIMS.about(
    "exponential_decay_length_penalty",
    "grows",
    "From a token on, an exponentially growing penalty makes the text end.",
    vague="what grows is the distance of the logit from 0, so that one at 0 never moves",
    source=_TRANSFORMERS,
)
def _decay_grows(lab: Lab) -> Measured:
    row = np.array([3.0, -2.0, 0.0, 1.0])
    request = {"exponential_decay_length_penalty": [5, 1.2]}
    worst, still = 0.0, 0.0
    for end in range(4):
        for length in (0, 5, 6, 10, 20):
            context = Context(output=np.full(length, 3))
            after = lab.logits(row, {**request, "eos_token_id": end}, context)
            expected = row[end] + abs(row[end]) * (1.2 ** max(length - 5, 0) - 1)
            worst = max(worst, abs(float(after[end]) - expected))
            still = max(still, abs(float(after[2])))
    factors = [1.0, 1.03, 1.06]
    ends = {"max_tokens": 50, "seed": 6}
    groups = [
        lab.tokens(_PROMPTS, {**ends, "exponential_decay_length_penalty": [20, f]}, n=4)
        for f in factors
    ]
    lengths = np.array([list(map(len, group)) for group in groups], np.float64)
    p = are_larger(lengths[0], lengths[2])
    return Measured(
        worst < 1e-9 and still == 0 and p < LEVEL,
        "k tokens after the start the logit is x + |x| (factor^k - 1), to {worst:.1g}; one of 0 "
        "stays {still:.0f}. Texts of at most 50 tokens have {none:.0f} with a factor of 1, "
        "{some:.0f} with 1.03 and {much:.0f} with 1.06 from the 20th on (rank test, p = {p:.0e}).",
        {
            "worst": worst,
            "still": still,
            "none": lengths[0].mean(),
            "some": lengths[1].mean(),
            "much": lengths[2].mean(),
            "p": p,
        },
    )


@CLAIMS.about(
    "allowed_token_ids",
    "only",
    "Only these tokens can be chosen, whatever else a request says.",
    source=_VLLM,
)
def _allowed_only(lab: Lab) -> Measured:
    rows, order = lab.rows.logits, ranking()
    allowed = order[:, 40:60]
    inside = wished = 0
    for row, ids, best in zip(rows, allowed.tolist(), order[:, 0].tolist(), strict=True):
        request = {"logit_bias": {best: 100}, "temperature": 2, "seed": 4}
        drawn = lab.draw(row, {**request, "allowed_token_ids": ids}, size=50)
        inside += int(np.isin(drawn, ids).sum())
        wished += int((lab.draw(row, request, size=50) == best).sum())
    draws = 50 * len(rows)
    return Measured(
        inside == draws == wished,
        "Of {draws} draws {inside} are among the 20 tokens that are allowed, of ranks 41 to 60, "
        "though the best token has a bias of 100; without a list it is drawn {wished} times.",
        {"draws": draws, "inside": inside, "wished": wished},
    )


def _count(texts: Sequence[Sequence[int]], phrase: Sequence[int]) -> int:
    """Return how often a phrase stands in texts."""
    n = len(phrase)
    return sum(
        list(text[i : i + n]) == [*phrase] for text in texts for i in range(len(text) - n + 1)
    )


@CLAIMS.about(
    "bad_words",
    "phrase",
    "A phrase is not generated: of it the last token is banned, where the others stand before.",
    source=_VLLM,
)
def _bad_words_phrase(lab: Lab) -> Measured:
    phrase = lab.model.encode(" and the")
    request = {"max_tokens": 40, "seed": 2, "temperature": 0.4}
    free, banned = (
        lab.tokens(_PROMPTS, {**request, **more}, n=6, model=lab.forgetful)
        for more in ({}, {"bad_words": [phrase]})
    )
    before, after = _count(free, phrase), _count(banned, phrase)
    parts = [_count(banned, [token]) for token in phrase]
    return Measured(
        before > after == 0 < min(parts),
        "“ and the” stands {before} times in 12 texts of a model of word pairs, and {after} times "
        "in those in which it is banned; these have “ and” {first} times and “ the” {last} times.",
        {"before": before, "after": after, "first": parts[0], "last": parts[-1]},
    )


@CLAIMS.about(
    "ignore_eos",
    "goes_on",
    "Generation goes on after a token that ends texts.",
    source=_VLLM,
)
def _ignore_eos(lab: Lab) -> Measured:
    request = _ending(lab, max_tokens=60)
    ends = lab.generate(_PROMPTS, request, n=6)
    ignored = lab.generate(_PROMPTS, {**request, "ignore_eos": True}, n=6)
    early = sum(answer.finish_reason == "stop" for answer in ends)
    full = sum(len(answer.tokens) == 60 for answer in ignored)
    drawn = sum(int(np.isin(answer.tokens, [*lab.model.end_ids]).sum()) for answer in ignored)
    return Measured(
        early > 0 and full == len(ignored) and drawn > 0,
        "Of 12 texts whose end is made likely {early} end before their 60th token; with it {full} "
        "have 60, with {drawn} ends among their tokens.",
        {"early": early, "full": full, "drawn": drawn},
    )


@CLAIMS.about(
    "repetition_detection",
    "ends",
    "A text ends where it has begun to repeat a pattern.",
    source=_VLLM,
)
def _repetition_ends(lab: Lab) -> Measured:
    rule = {"max_pattern_size": 12, "min_pattern_size": 2, "min_count": 3}
    request = {"temperature": 0, "max_tokens": 80}
    whole, cut = (
        lab.tokens([*_PROMPTS, "He was so"], {**request, **more}, model=lab.forgetful)
        for more in ({}, {"repetition_detection": rule})
    )
    ends = list(map(_first_pattern, whole))
    right = sum(len(b) == end < len(a) for a, b, end in zip(whole, cut, ends, strict=True))
    return Measured(
        right == len(whole),
        "{right} of {texts} greedy texts of a model of word pairs, which go in circles, end with "
        "the token that completes the third copy of a pattern of 2 to 12 tokens: after {least} to "
        "{most} instead of 80.",
        {
            "right": right,
            "texts": len(whole),
            "least": min(map(len, cut)),
            "most": max(map(len, cut)),
        },
    )


def _first_pattern(text: Sequence[int]) -> int:
    """Return after how many tokens a text ends in three copies of 2 to 12 tokens."""
    for end in range(6, len(text) + 1):
        for size in range(2, 13):
            last = list(text[max(end - size, 0) : end])
            if 3 * size <= end and list(text[end - 3 * size : end]) == 3 * last:
                return end
    return len(text) + 1
