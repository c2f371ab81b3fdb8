"""Claims about what is drawn and reported: seed, logprobs and top_logprobs."""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.claims.truth import LEVEL, chi_square, probabilities, ranked
from logitlab.generation.result import Generation
from numpy.typing import NDArray

__all__ = ["CLAIMS"]

CLAIMS = Family()
_PROMPTS = ["The king", "Once upon a time", "The wolf said", "A poor miller"]


def _tokens(answers: list[Generation]) -> list[list[int]]:
    return [answer.tokens.tolist() for answer in answers]


# ---------------------------------------------------------------- seed


@CLAIMS.about("seed", "repeats", "The same request with the same seed returns the same result.")
def _repeats(lab: Lab) -> Measured:
    def written() -> list[list[int]]:
        answers = lab.generate("The king", {"max_tokens": 12}, seed=list(range(12)))
        return _tokens(answers)

    first, second = written(), written()
    same = sum(a == b for a, b in zip(first, second, strict=True))
    different = len({tuple(tokens) for tokens in first})
    return Measured(
        same == len(first) and different > 1,
        "{same} of {seeds} seeds give the same tokens again; among them are {different} different "
        "answers.",
        {"same": same, "seeds": len(first), "different": different},
    )


@CLAIMS.about(
    "seed", "guaranteed",
    "For some models a repetition is not guaranteed.",
    vague="for which is not said; here it is, whatever else is in the batch",
)  # fmt: skip
def _guaranteed(lab: Lab) -> Measured:
    request = {"temperature": 1.2, "frequency_penalty": 0.3, "max_tokens": 12}
    seeds = [11, 12, 13, 14]
    alone = [
        _tokens(lab.generate(prompt, request, seed=seed))[0]
        for prompt, seed in zip(_PROMPTS, seeds, strict=True)
    ]
    batch = _tokens(lab.generate(_PROMPTS, request, seed=seeds))
    back = _tokens(lab.generate(_PROMPTS[::-1], request, seed=seeds[::-1], batch_size=3))
    texts = sum(a == b == c for a, b, c in zip(alone, batch, back[::-1], strict=True))
    rows = lab.rows.logits
    whole = lab.draw({"seed": 5}, rows, size=20)
    parts = [
        lab.draw({"seed": 5}, rows[[i]], size=10, sequence=[i], position=10)[0]
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
    tokens = ranked()[3, :size]
    p = probabilities(row[tokens])
    drawn = [int(lab.draw({"top_k": size, "seed": seed}, row)) for seed in range(count)]
    times = np.array([drawn.count(token) for token in tokens.tolist()])
    level = chi_square(times, p * count) if times.sum() == count else 0.0
    label = lab.rows.vocabulary.label
    return Measured(
        level > LEVEL,
        "{count} seeds draw the {size} tokens of top_k {size} as often as their probabilities say "
        "(chi-square test, p = {p:.2f}).",
        {"count": count, "size": size, "p": level},
        Picture(
            "The first token under 200 seeds", "token", "share",
            [label(token) for token in tokens.tolist()],
            {"drawn": times / count, "probability": p}, "bars",
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- logprobs


def _log_p(lab: Lab, answer: Generation) -> NDArray[np.float64]:
    """Return the model's log-probabilities at each place of an answer, shape (T, V)."""
    begins = [[*answer.prompt.tolist(), *answer.tokens[:i].tolist()]
              for i in range(len(answer.tokens))]  # fmt: skip
    logits = lab.model.advance([lab.model.start() for _ in begins], begins)
    log_p: NDArray[np.float64] = np.log(probabilities(logits))
    return log_p


def _asks(count: int = 0) -> dict[str, Any]:
    return {"temperature": 0.5, "seed": 3, "max_tokens": 12, "logprobs": True,
            "top_logprobs": count}  # fmt: skip


@CLAIMS.about(
    "logprobs", "each",
    "The log-probability of each token of the answer is returned.",
    vague="of which distribution is not said: here the model's own, before temperature and all",
)  # fmt: skip
def _each(lab: Lab) -> Measured:
    [answer] = lab.generate("The king", _asks())
    if answer.logprobs is None:
        return Measured(False, "Nothing is returned.")
    log_p = _log_p(lab, answer)
    places = np.arange(len(answer.tokens)), answer.tokens
    drawn_from = np.log(probabilities(log_p / 0.5))[places]
    own = log_p[places]
    found = answer.logprobs.logprobs
    worst = float(np.abs(found - own).max()) if found.shape == own.shape else float("inf")
    return Measured(
        worst < 1e-6,
        "At temperature 0.5, {tokens} values for {tokens} tokens, equal to the model's own to "
        "{worst:.1g}: {own:.2f} nats on average, where the distribution drawn from has "
        "{processed:.2f}.",
        {"tokens": len(own), "worst": worst, "own": own.mean(), "processed": drawn_from.mean()},
        Picture(
            "Log-probabilities of an answer at temperature 0.5", "token", "log-probability in nats",
            [lab.model.vocabulary.label(token) for token in answer.tokens.tolist()],
            {"reported: the model's own": found, "drawn from": drawn_from}, "bars",
        ),
    )  # fmt: skip


@CLAIMS.about("logprobs", "absent", "They are returned if they are asked for.")
def _absent(lab: Lab) -> Measured:
    counts = []
    for value in (None, False, True):
        request = {"prompt": "The king", "seed": 3, "max_tokens": 6, "logprobs": value}
        reported = lab.chat(request)["choices"][0]["logprobs"]
        counts.append(len(reported["content"]) if reported else 0)
    return Measured(
        counts == [0, 0, 6],
        "Of 6 tokens, {absent} are reported without the key, {false} with false, {true} with true.",
        {"absent": counts[0], "false": counts[1], "true": counts[2]},
    )


@CLAIMS.about(
    "top_logprobs", "most_likely",
    "At each position so many of the most likely tokens are returned with their "
    "log-probabilities.",
)  # fmt: skip
def _most_likely(lab: Lab) -> Measured:
    right = places = 0
    covered = np.empty(0)
    for count in (1, 5, 20):
        [answer] = lab.generate("The king", _asks(count))
        log_p = _log_p(lab, answer)
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
            "Probability that the reported tokens hold", "top_logprobs", "probability",
            np.arange(1, len(covered) + 1), {"mean of 12 positions": covered},
        ),
    )  # fmt: skip


@CLAIMS.about("top_logprobs", "needs", "It goes from 0 to 20, and logprobs has to be on for it.")
def _needs(lab: Lab) -> Measured:
    alone = lab.refusal({"top_logprobs": 5})
    much = lab.refusal({"top_logprobs": 21, "logprobs": True})
    fine = lab.refusal({"top_logprobs": 20, "logprobs": True})
    return Measured(
        bool(alone and much and not fine),
        "Refused are {refused} of 2 requests that break this, and {wrongly} of 1 that keeps it"
        + (f": “{alone}”" if alone else "."),
        {"refused": bool(alone) + bool(much), "wrongly": int(bool(fine))},
    )
