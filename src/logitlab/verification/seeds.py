"""Is ``seed`` honoured? The same seed twice gives the same first token: alone, and in company.

That a seed is honoured is proven on single tokens (see `repeats`): longer answers of a server that
batches part somewhere by noise. Whether they repeat is measured afterwards, alone and beside other
requests, and reported as a rate with an exact interval, without a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from logitlab.verification.drawn import Identities, text_of
from logitlab.verification.exchangeable import clopper_pearson
from logitlab.verification.finding import Claim
from logitlab.verification.repeats import Pairs, bound_of, found, pairs_of, prompts_of, refusal
from logitlab.verification.study import Study

__all__ = ["seeds"]

_MISS = 0.1
_LENGTH = 16
_ALONE = 3
_OTHERS = ("Name a river.", "Count to ten.", "What is a cloud?")


def seeds(study: Study, *, most: int = 24, company: int = 4, beside: int = 3) -> None:
    """Test ``seed``, and see whether longer answers repeat.

    Where the distribution was observed some 4 pairs decide, elsewhere 6.

    Parameters
    ----------
    study : Study
    most : int
        The most requests of the test.
    company : int
        How often an answer is asked for together with others, once the seed is honoured; 0 leaves
        that out.
    beside : int
        How many others.

    Examples
    --------
    >>> import numpy as np
    >>> from logitlab.verification.answer import Answer
    >>> def send(bodies):
    ...     texts = (
    ...         " ".join(map(str, np.random.default_rng(body.get("seed")).integers(0, 99, 3)))
    ...         for body in bodies
    ...     )
    ...     return [Answer(200, {"choices": [{"text": text}]}) for text in texts]
    >>> study = Study(send, prompts=("Write a word.",), chat=False)
    >>> seeds(study)
    >>> study.findings["seed"].verdict, study.findings["seed"].scope
    ('honoured', 'answers of 16 tokens repeat: alone 3 of 3 (0.29 to 1.00), beside 3 others
    4 of 4 (0.40 to 1.00), at a level of .95')
    """
    before = study.requests, study.tokens
    pairs, bound = Pairs(study.alpha, _MISS), bound_of(study)
    ids = Identities()
    history: list[tuple[int, Mapping[str, float]]] = []
    refused, scope = None, None
    first = _drawn(study)
    try:
        labels = _labels(study, first)
        refused = pairs_of(study, pairs, labels, bound=bound, ids=ids, history=history, most=most)
        if pairs.verdict == "honoured" and company:
            scope = _repeats(study, company, beside)
    finally:
        spent = study.requests - before[0], study.tokens - before[1]
        if refused is not None and not pairs.count:
            finding = refusal(refused, first, spent)
        else:
            claims = (Claim(first, pairs.verdict, log_e=pairs.peak_ignored),)
            detail = _detail(pairs, ids)
            finding = found(study, pairs, spent, claims=claims, detail=detail, history=history)
        study.findings["seed"] = replace(finding, scope=scope)


def _labels(study: Study, first: int) -> Iterator[dict[str, Any]]:
    yield {"seed": first}
    while True:
        yield {"seed": _drawn(study)}


def _drawn(study: Study) -> int:
    return int(study.rng.integers(1, 2**31))


def _detail(pairs: Pairs, ids: Identities) -> str:
    detail = f"{pairs.equal} of {pairs.count} pairs with the same seed are equal."
    if len(pairs.by_prompt) > 1 and pairs.verdict == "cannot_tell" and pairs.equal == pairs.count:
        detail += " All seeds give the same: the server is greedy, or they are never read."
    if ids.cached and pairs.verdict == "honoured":
        detail += " Equal answers have equal ids: they may be kept, not drawn again."
    return detail


def _repeats(study: Study, company: int, beside: int) -> str | None:
    """Return how often longer answers repeat, alone, in company, and within one request."""
    prompt = prompts_of(study)[0]
    body = study.body(prompt, _LENGTH, seed=_drawn(study))
    others = [study.body(_OTHERS[i % len(_OTHERS)], _LENGTH) for i in range(beside)]
    first = study.together([body])[0]
    if first.refused:
        return None
    alone = company_of = 0
    for _ in range(_ALONE):
        alone += text_of(study.together([body])[0]) == text_of(first)
    for turn in range(company):
        place = turn % (beside + 1)  # not always the first of the batch
        answers = study.together([*others[:place], body, *others[place:]])
        company_of += text_of(answers[place]) == text_of(first)
    said = (
        f"answers of {_LENGTH} tokens repeat: alone {_rate(alone, _ALONE)}, beside {beside} others"
    )
    said += f" {_rate(company_of, company)}, at a level of .95"
    if study.verdict("n") == "honoured":
        answer = study.ask(prompt, _LENGTH, seed=_drawn(study), n=2)
        if len(answer.choices) > 1:
            differ = text_of(answer, 0) != text_of(answer, 1)
            said += f"; two choices of one request {'differ' if differ else 'are equal'}"
    return said


def _rate(successes: int, trials: int) -> str:
    low, high = clopper_pearson(successes, trials)
    return f"{successes} of {trials} ({low:.2f} to {high:.2f})"
