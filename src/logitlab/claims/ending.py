"""Claims about where a text ends: max_tokens, stop and verbosity."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab
from logitlab.generation.result import Generation

__all__ = ["CLAIMS"]

CLAIMS = Family()
_SOON = 8.5


# ---------------------------------------------------------------- max_tokens


@CLAIMS.about("max_tokens", "limit", "The model never writes more tokens than this.")
def _limit(lab: Lab) -> Measured:
    limits = [1, 2, 5, 10, 20, 40]
    requests = [{"max_tokens": limit, "seed": 1} for limit in limits]
    answers = lab.generate("The king", requests, n=3)
    counts = np.array([len(answer.tokens) for answer in answers]).reshape(len(limits), 3)
    over = int((counts > np.array(limits)[:, None]).sum())
    reached = int((counts == np.array(limits)[:, None]).sum())
    length = sum(answer.finish_reason == "length" for answer in answers)
    return Measured(
        over == 0 and reached == length > 0,
        "Of {answers} answers with limits of 1 to 40, {over} are longer; {reached} reach the limit "
        "and finish with the reason “length”.",
        {"answers": counts.size, "over": over, "reached": reached},
        Picture(
            "Tokens that were written", "max_tokens", "tokens", [str(limit) for limit in limits],
            {f"answer {i + 1}": counts[:, i] for i in range(3)}, "bars",
        ),
    )  # fmt: skip


@CLAIMS.about(
    "max_tokens", "context", "At most the context length less that of the prompt is possible."
)
def _context(lab: Lab) -> Measured:
    room = 24
    prompts = ["The king", "Once upon a time there was a poor miller"]
    answers = lab.generate(
        prompts, {"max_tokens": 1000, "seed": 1}, model=lab.windowed(room)
    )  # fmt: skip
    used = [len(answer.prompt) + len(answer.tokens) for answer in answers]
    full = sum(answer.finish.cause == "context" for answer in answers)
    return Measured(
        used == [room] * len(prompts) and full == len(prompts),
        "With max_tokens 1000 in a context of {room}, prompts of {short} and {long} tokens get "
        "{first} and {second} more, and the reason is “length”.",
        {"room": room, "short": len(answers[0].prompt), "long": len(answers[1].prompt),
         "first": len(answers[0].tokens), "second": len(answers[1].tokens)},
    )  # fmt: skip


# ---------------------------------------------------------------- stop


def _plain(lab: Lab) -> list[Generation]:
    return lab.generate("The king", {"max_tokens": 40, "seed": 4}, n=8)


def _stopped(lab: Lab, stop: list[str]) -> list[Generation]:
    return lab.generate("The king", {"max_tokens": 40, "seed": 4, "stop": stop}, n=8)


def _first(text: str, stop: list[str]) -> int:
    """Return where the first of some strings begins in a text; its length if none does."""
    return min((text.find(one) for one in stop if one in text), default=len(text))


@CLAIMS.about("stop", "immediate", "Generation ends at once where a stop string is met.")
def _immediate(lab: Lab) -> Measured:
    stop = ["the"]
    plain, stopped = _plain(lab), _stopped(lab, stop)
    decode = lab.model.vocabulary.decode
    right = met = saved = 0
    for whole, cut in zip(plain, stopped, strict=True):
        met += stop[0] in whole.text
        needed = next(
            (n for n in range(1, len(whole.tokens)) if stop[0] in decode(whole.tokens[:n])),
            len(whole.tokens),
        )
        right += cut.text == whole.text[: _first(whole.text, stop)] and len(cut.tokens) == needed
        saved += len(whole.tokens) - len(cut.tokens)
    lengths = [[len(answer.text) for answer in answers] for answers in (plain, stopped)]
    return Measured(
        right == len(plain) and met > 0,
        "{right} of {texts} texts end before “the” ({met} meet it), with the token that completes "
        "it: {saved} tokens are never drawn. The string itself is not in the text.",
        {"right": right, "texts": len(plain), "met": met, "saved": saved},
        Picture(
            "Length of 8 texts", "text", "characters", list("12345678"),
            {"without stop": lengths[0], "stop “the”": lengths[1]}, "bars",
        ),
    )  # fmt: skip


@CLAIMS.about(
    "stop", "token",
    "What is compared are tokens of the array.",
    wrong="strings are compared, wherever tokens begin and end",
)  # fmt: skip
def _token(lab: Lab) -> Measured:
    vocabulary = lab.model.vocabulary
    right = tokens = cases = 0
    for whole in _plain(lab)[:5]:
        spelt = [vocabulary.decode([token]) for token in whole.tokens.tolist()]
        across = [a[-1] + b[:2] for a, b in pairwise(spelt[4:]) if len(a) > 1 < len(b)]
        stop = next(text for text in across if whole.text.find(text) > 8)
        request = {"max_tokens": 40, "seed": 4, "stop": [stop]}
        [cut] = lab.generate("The king", request, sequence=whole.sequence)
        cases += 1
        right += cut.text == whole.text[: whole.text.find(stop)]
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
    plain, stopped = _plain(lab), _stopped(lab, stop)
    right = sum(
        cut.text == whole.text[: _first(whole.text, stop)]
        for whole, cut in zip(plain, stopped, strict=True)
    )
    used = {answer.finish.stop for answer in stopped} - {None}
    return Measured(
        right == len(plain) and len(used) > 1,
        "With four strings, {right} of {texts} texts end at the one that begins earliest; "
        "{used} of the four do so.",
        {"right": right, "texts": len(plain), "used": len(used)},
    )


# ---------------------------------------------------------------- verbosity


def _ends(lab: Lab, **more: Any) -> dict[str, Any]:
    """Return a request that ends soon: tales are long, so the end is made likely."""
    bias = dict.fromkeys(lab.model.end_ids, _SOON)
    return {"max_tokens": 120, "seed": 6, "logit_bias": bias, **more}


@CLAIMS.about(
    "verbosity", "lengths",
    "Low makes answers more concise, high more detailed and longer.",
    vague="no mathematics is published; here the odds of ending are multiplied by 1.5 or divided",
)  # fmt: skip
def _lengths(lab: Lab) -> Measured:
    words = ["low", "medium", "high"]
    texts = 16
    requests = [_ends(lab, verbosity=word) for word in words]
    # Every token has luck of its own, so that the three differ only where they end.
    answers = lab.generate("The king", requests, n=texts, coupling="gumbel")
    found = [[answer.text for answer in answers[i * texts : (i + 1) * texts]] for i in range(3)]
    begins = sum(
        medium.startswith(low) and high.startswith(medium)
        for low, medium, high in zip(*found, strict=True)
    )
    counts = np.array([len(answer.tokens) for answer in answers], float).reshape(3, texts)
    low, medium, high = counts.mean(axis=1)
    return Measured(
        begins == texts and low < medium < high,
        "Of texts whose end is made likely and whose tokens have the same luck, low is the "
        "beginning of medium, and medium of high, in {begins} of {texts}: {low:.1f}, {medium:.1f} "
        "and {high:.1f} tokens on average.",
        {"begins": begins, "texts": texts, "low": low, "medium": medium, "high": high},
        Picture(
            "Length of 16 texts whose end is made likely", "verbosity", "tokens", words,
            {"mean": counts.mean(axis=1), "median": np.median(counts, axis=1)}, "bars",
        ),
    )  # fmt: skip


@CLAIMS.about("verbosity", "medium", "Medium is the default.")
def _medium(lab: Lab) -> Measured:
    texts = 10
    requests = [_ends(lab), _ends(lab, verbosity="medium"), _ends(lab, verbosity="low")]
    bias = dict.fromkeys(lab.model.end_ids, _SOON + math.log(1.5))
    requests.append(_ends(lab, logit_bias=bias))
    found = [answer.tokens.tolist() for answer in lab.generate("The king", requests, n=texts)]
    absent, medium, low, biased = (found[i * texts : (i + 1) * texts] for i in range(4))
    same = sum(a == b for a, b in zip(absent, medium, strict=True))
    equal = sum(a == b for a, b in zip(low, biased, strict=True))
    return Measured(
        same == equal == texts,
        "{same} of {texts} texts are token for token the same with medium and without; low is a "
        "bias of ln 1.5 on the end token in {equal} of {texts}.",
        {"same": same, "equal": equal, "texts": texts},
    )
