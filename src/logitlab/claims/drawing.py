"""Claims about what is drawn and reported: seed, logprobs and top_logprobs."""

from __future__ import annotations

from operator import eq

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.truth import LEVEL, Floats, chi_square, probabilities, ranking
from logitlab.generation.result import Generation

__all__ = ["CLAIMS"]

CLAIMS = Family()
_PROMPTS = ["The king", "Once upon a time", "The wolf said", "A poor miller"]


@CLAIMS.about("seed", "repeats", "The same request with the same seed returns the same result.")
def _seed_repeats(lab: Lab) -> Measured:
    request, seeds = {"max_tokens": 12}, list(range(12))
    first, second = (lab.tokens("The king", request, seed=seeds) for _ in range(2))
    same = sum(map(eq, first, second))
    different = len({tuple(tokens) for tokens in first})
    return Measured(
        same == len(first) and different > 1,
        "{same} of {seeds} seeds give the same tokens again; among them are {different} different "
        "answers.",
        {"same": same, "seeds": len(first), "different": different},
    )


@CLAIMS.about(
    "seed",
    "guaranteed",
    "For some models a repetition is not guaranteed.",
    vague="for which is not said; here it is, whatever else is in the batch",
)
def _guaranteed(lab: Lab) -> Measured:
    request = {"temperature": 1.2, "frequency_penalty": 0.3, "max_tokens": 12}
    seeds = [11, 12, 13, 14]
    alone = [
        lab.tokens(prompt, request, seed=seed)[0]
        for prompt, seed in zip(_PROMPTS, seeds, strict=True)
    ]
    batch = lab.tokens(_PROMPTS, request, seed=seeds)
    back = lab.tokens(_PROMPTS[::-1], request, seed=seeds[::-1], batch_size=3)
    texts = sum(a == b == c for a, b, c in zip(alone, batch, back[::-1], strict=True))
    rows = lab.rows.logits
    whole = lab.draw(rows, {"seed": 5}, size=20)
    parts = [
        lab.draw(rows[[i]], {"seed": 5}, size=10, sequence=[i], position=10)[0]
        for i in reversed(range(len(rows)))
    ]
    draws = int((whole[::-1, 10:] == np.array(parts)).all(axis=1).sum())
    return Measured(
        texts == len(alone) and draws == len(rows),
        "{texts} of {cases} texts are the same alone, in a batch and in another order; on {draws} "
        "of {rows} rows draws 10 to 19 are the same without draws 0 to 9 and without other rows.",
        {"texts": texts, "cases": len(alone), "draws": draws, "rows": len(rows)},
    )


@CLAIMS.about("seed", "samples", "The tokens are sampled, and the seed decides which.")
def _samples(lab: Lab) -> Measured:
    row, count, size = lab.rows.logits[3], 200, 7
    tokens = ranking()[3, :size]
    p = probabilities(row[tokens])
    draws = np.array([lab.draw(row, {"top_k": size, "seed": seed}) for seed in range(count)])
    times = (draws[:, None] == tokens).sum(axis=0)
    level = chi_square(times, p * count) if times.sum() == count else 0.0
    return Measured(
        level > LEVEL,
        "{count} seeds draw the {size} tokens of top_k {size} as often as their probabilities say "
        "(chi-square test, p = {p:.2f}).",
        {"count": count, "size": size, "p": level},
        Picture(
            "The first token under 200 seeds",
            "token",
            "share",
            [lab.rows.vocabulary.label(token) for token in tokens.tolist()],
            {"drawn": times / count, "probability": p},
            "bars",
        ),
    )


def _with_logprobs(lab: Lab, count: int = 0) -> tuple[Generation, Floats]:
    """Return an answer and the model's log-probabilities at each of its places, shape (T, V)."""
    request = {"temperature": 0.5, "seed": 3, "max_tokens": 12, "logprobs": True}
    [answer] = lab.generate("The king", {**request, "top_logprobs": count})
    prompt, tokens = answer.prompt.tolist(), answer.tokens.tolist()
    texts = [[*prompt, *tokens[:i]] for i in range(len(tokens))]
    logits = lab.model.advance([lab.model.start() for _ in texts], texts)
    return answer, np.log(probabilities(logits))


@CLAIMS.about(
    "logprobs",
    "each",
    "The log-probability of each token of the answer is returned.",
    vague="of which distribution is not said: here the model's own, before temperature and all",
)
def _each(lab: Lab) -> Measured:
    answer, log_p = _with_logprobs(lab)
    if answer.logprobs is None:
        return Measured(False, "Nothing is returned.")
    places = np.arange(len(log_p)), answer.tokens.astype(np.intp)
    processed, own = np.log(probabilities(log_p / 0.5))[places], log_p[places]
    reported = answer.logprobs.logprobs
    worst = float(np.abs(reported - own).max()) if reported.shape == own.shape else float("inf")
    return Measured(
        worst < 1e-6,
        "At temperature 0.5, {tokens} values for {tokens} tokens, equal to the model's own to "
        "{worst:.1g}: {own:.2f} nats on average, where the distribution drawn from has "
        "{processed:.2f}.",
        {"tokens": len(own), "worst": worst, "own": own.mean(), "processed": processed.mean()},
        Picture(
            "Log-probabilities of an answer at temperature 0.5",
            "token",
            "log-probability in nats",
            [lab.model.vocabulary.label(token) for token in answer.tokens.tolist()],
            {"reported: the model's own": reported, "drawn from": processed},
            "bars",
        ),
    )


@CLAIMS.about("logprobs", "absent", "They are returned if they are asked for.")
def _absent(lab: Lab) -> Measured:
    request = {"prompt": "The king", "seed": 3, "max_tokens": 6}
    answers = (lab.chat({**request, "logprobs": value}) for value in (None, False, True))
    reports = (answer["choices"][0]["logprobs"] for answer in answers)
    counts = [len(report["content"]) if report else 0 for report in reports]
    return Measured(
        counts == [0, 0, 6],
        "Of 6 tokens, {absent} are reported without the key, {false} with false, {true} with true.",
        {"absent": counts[0], "false": counts[1], "true": counts[2]},
    )


@CLAIMS.about(
    "top_logprobs",
    "most_likely",
    "At each position so many of the most likely tokens are returned with their log-probabilities.",
)
def _top_logprobs_most_likely(lab: Lab) -> Measured:
    right = places = 0
    covered = np.empty(0)
    for count in (1, 5, 20):
        answer, log_p = _with_logprobs(lab, count)
        order = np.argsort(-log_p, axis=-1, kind="stable")[:, :count]
        values = np.take_along_axis(log_p, order, axis=-1)
        covered = np.exp(values).cumsum(axis=-1).mean(axis=0)
        places += len(order)
        report = answer.logprobs
        if report is not None and report.top_tokens.shape == order.shape:
            same = (report.top_tokens == order) & (np.abs(report.top_logprobs - values) < 1e-6)
            right += int(same.all(axis=-1).sum())
    return Measured(
        right == places,
        "With 1, 5 and 20 it is exactly these tokens and values, in order, at {right} of {places} "
        "positions; 20 hold {covered:.0%} of the probability on average.",
        {"right": right, "places": places, "covered": covered[-1]},
        Picture(
            "Probability that the reported tokens hold",
            "top_logprobs",
            "probability",
            np.arange(1, len(covered) + 1),
            {"mean of 12 positions": covered},
        ),
    )


@CLAIMS.about("top_logprobs", "needs", "It goes from 0 to 20, and logprobs has to be on for it.")
def _needs(lab: Lab) -> Measured:
    alone = lab.refusal({"top_logprobs": 5})
    much, fine = (lab.refusal({"top_logprobs": n, "logprobs": True}) for n in (21, 20))
    return Measured(
        bool(alone and much and not fine),
        "Refused are {refused} of 2 requests that break this, and {wrongly} of 1 that keeps it"
        + (f": “{alone}”" if alone else "."),
        {"refused": bool(alone) + bool(much), "wrongly": int(bool(fine))},
    )
