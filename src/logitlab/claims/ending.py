"""Claims about where a text ends: max_tokens, stop and verbosity."""

from __future__ import annotations

import math
from itertools import pairwise
from operator import eq
from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.generation.result import Generation

__all__ = ["CLAIMS"]

CLAIMS = Family()
_SOON = 8.5  # is added to the logit of every token that ends a text


@CLAIMS.about("max_tokens", "limit", "The model never writes more tokens than this.")
def _limit(lab: Lab) -> Measured:
    limits = np.array([1, 2, 5, 10, 20, 40])
    requests = [{"max_tokens": limit, "seed": 1} for limit in limits.tolist()]
    answers = lab.generate("The king", requests, n=3)
    counts = np.array([len(answer.tokens) for answer in answers]).reshape(len(limits), 3)
    over, reached = (counts > limits[:, None]).sum(), (counts == limits[:, None]).sum()
    length = sum(answer.finish_reason == "length" for answer in answers)
    return Measured(
        bool(over == 0 and reached == length > 0),
        "Of {answers} answers with limits of 1 to 40, {over} are longer; {reached} reach the limit "
        "and finish with the reason “length”.",
        {"answers": counts.size, "over": over, "reached": reached},
        Picture(
            "Tokens that were written",
            "max_tokens",
            "tokens",
            [str(limit) for limit in limits],
            {f"answer {i + 1}": counts[:, i] for i in range(3)},
            "bars",
        ),
    )


@CLAIMS.about(
    "max_tokens", "context", "At most the context length less that of the prompt is possible."
)
def _context(lab: Lab) -> Measured:
    room = 24
    prompts = ["The king", "Once upon a time there was a poor miller"]
    answers = lab.generate(prompts, {"max_tokens": 1000, "seed": 1}, model=lab.windowed(room))
    used = [len(answer.prompt) + len(answer.tokens) for answer in answers]
    full = sum(answer.finish.cause == "context" for answer in answers)
    return Measured(
        used == [room] * len(prompts) and full == len(prompts),
        "With max_tokens 1000 in a context of {room}, prompts of {short} and {long} tokens get "
        "{first} and {second} more, and the reason is “length”.",
        {
            "room": room,
            "short": len(answers[0].prompt),
            "long": len(answers[1].prompt),
            "first": len(answers[0].tokens),
            "second": len(answers[1].tokens),
        },
    )


def _with_and_without(lab: Lab, stop: list[str]) -> list[tuple[Generation, Generation]]:
    """Return pairs of the same text, whole and ended by some strings."""
    request = {"max_tokens": 40, "seed": 4}
    whole, cut = (lab.generate("The king", r, n=8) for r in (request, {**request, "stop": stop}))
    return list(zip(whole, cut, strict=True))


def _before_match(text: str, stop: list[str]) -> str:
    """Return a text up to where the first of some strings begins in it."""
    return text[: min((text.find(one) for one in stop if one in text), default=None)]


@CLAIMS.about("stop", "immediate", "Generation ends at once where a stop string is met.")
def _immediate(lab: Lab) -> Measured:
    pairs = _with_and_without(lab, ["the"])
    decode = lab.model.vocabulary.decode
    right = 0
    for whole, cut in pairs:
        needed = (n for n in range(1, len(whole.tokens)) if "the" in decode(whole.tokens[:n]))
        in_time = len(cut.tokens) == next(needed, len(whole.tokens))
        right += in_time and cut.text == _before_match(whole.text, ["the"])
    met = sum("the" in whole.text for whole, _ in pairs)
    saved = sum(len(whole.tokens) - len(cut.tokens) for whole, cut in pairs)
    lengths = [[len(answer.text) for answer in answers] for answers in zip(*pairs, strict=True)]
    return Measured(
        right == len(pairs) and met > 0,
        "{right} of {texts} texts end before “the” ({met} meet it), with the token that completes "
        "it: {saved} tokens are never drawn. The string itself is not in the text.",
        {"right": right, "texts": len(pairs), "met": met, "saved": saved},
        Picture(
            "Length of 8 texts",
            "text",
            "characters",
            list("12345678"),
            {"without stop": lengths[0], "stop “the”": lengths[1]},
            "bars",
        ),
    )


@CLAIMS.about(
    "stop",
    "token",
    "What is compared are tokens of the array.",
    wrong="strings are compared, wherever tokens begin and end",
)
def _token(lab: Lab) -> Measured:
    cases, right, tokens = 5, 0, 0
    request = {"max_tokens": 40, "seed": 4}
    for whole in lab.generate("The king", request, n=cases):
        spelt = [lab.model.vocabulary.decode([token]) for token in whole.tokens.tolist()]
        across = [a[-1] + b[:2] for a, b in pairwise(spelt[4:]) if len(a) > 1 < len(b)]
        stop = next(text for text in across if whole.text.find(text) > 8)
        [cut] = lab.generate("The king", {**request, "stop": [stop]}, sequence=whole.sequence)
        right += cut.text == _before_match(whole.text, [stop])
        tokens += stop in spelt
    return Measured(
        right == cases,
        "{right} of {cases} texts stop at three characters that begin within one token and end in "
        "the next; {tokens} of them are a token of that text.",
        {"right": right, "cases": cases, "tokens": tokens},
    )


@CLAIMS.about("stop", "any", "Any one of the array is enough.")
def _any(lab: Lab) -> Measured:
    stop = ["no such text", "and", "the", " h"]
    pairs = _with_and_without(lab, stop)
    right = sum(cut.text == _before_match(whole.text, stop) for whole, cut in pairs)
    used = {cut.finish.stop for _, cut in pairs} - {None}
    return Measured(
        right == len(pairs) and len(used) > 1,
        "With four strings, {right} of {texts} texts end at the one that begins earliest; "
        "{used} of the four do so.",
        {"right": right, "texts": len(pairs), "used": len(used)},
    )


def _soon_ending(lab: Lab, bias: float = _SOON, **more: Any) -> dict[str, Any]:
    """Return a request for texts that end soon: tales are long, so a bias makes the end likely."""
    biases = dict.fromkeys(lab.model.end_ids, bias)
    return {"max_tokens": 120, "seed": 6, "logit_bias": biases, **more}


@CLAIMS.about(
    "verbosity",
    "lengths",
    "Low makes answers more concise, high more detailed and longer.",
    vague="no mathematics is published; here the odds of ending are multiplied by 1.5 or divided",
)
def _lengths(lab: Lab) -> Measured:
    words = ["low", "medium", "high"]
    texts = 16
    # Every token has luck of its own, so that the three differ only where they end.
    requests = (_soon_ending(lab, verbosity=word) for word in words)
    groups = [lab.generate("The king", r, n=texts, coupling="gumbel") for r in requests]
    begins = sum(
        medium.text.startswith(low.text) and high.text.startswith(medium.text)
        for low, medium, high in zip(*groups, strict=True)
    )
    counts = np.array([[len(answer.tokens) for answer in answers] for answers in groups])
    low, medium, high = counts.mean(axis=1)
    return Measured(
        begins == texts and low < medium < high,
        "Of texts whose end is made likely and whose tokens have the same luck, low is the "
        "beginning of medium, and medium of high, in {begins} of {texts}: {low:.1f}, {medium:.1f} "
        "and {high:.1f} tokens on average.",
        {"begins": begins, "texts": texts, "low": low, "medium": medium, "high": high},
        Picture(
            "Length of 16 texts whose end is made likely",
            "verbosity",
            "tokens",
            words,
            {"mean": counts.mean(axis=1), "median": np.median(counts, axis=1)},
            "bars",
        ),
    )


@CLAIMS.about("verbosity", "medium", "Medium is the default.")
def _medium(lab: Lab) -> Measured:
    texts = 10
    requests = (
        _soon_ending(lab),
        _soon_ending(lab, verbosity="medium"),
        _soon_ending(lab, verbosity="low"),
        _soon_ending(lab, bias=_SOON + math.log(1.5)),
    )
    absent, medium, low, biased = (lab.tokens("The king", r, n=texts) for r in requests)
    same, equal = sum(map(eq, absent, medium)), sum(map(eq, low, biased))
    return Measured(
        same == equal == texts,
        "{same} of {texts} texts are token for token the same with medium and without; low is a "
        "bias of ln 1.5 on the end token in {equal} of {texts}.",
        {"same": same, "equal": equal, "texts": texts},
    )
