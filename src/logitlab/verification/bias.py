"""Is ``logit_bias`` honoured? A bias of +100 on a token gives that token, whatever it is.

The same id twice gives the same text twice, so that no tokenizer is needed: see `repeats`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from logitlab.verification.drawn import Identities
from logitlab.verification.finding import Claim
from logitlab.verification.position import Token
from logitlab.verification.repeats import Pairs, bound_of, found, pairs_of, refusal
from logitlab.verification.study import Study

__all__ = ["AMOUNT", "bias"]

# Every large vocabulary has these ids, and no special token among them; the second row is for
# small ones, which refuse the first.
_IDS = ((1500, 1900, 1234, 1111, 1700, 1300, 1400, 1600, 1800, 1200, 1750, 1350),
        (300, 350, 270, 310, 290, 330, 280, 320, 340, 275, 305, 335))  # fmt: skip
AMOUNT = 100
_MISS = 0.02


def bias(study: Study, *, most: int = 24) -> None:
    """Test ``logit_bias`` with pairs of requests, and add a finding.

    Where the distribution was observed 3 pairs decide, elsewhere 6.

    Parameters
    ----------
    study : Study
    most : int
        The most requests.

    Examples
    --------
    >>> from logitlab.verification.answer import Answer
    >>> def send(bodies):
    ...     return [
    ...         Answer(200, {"choices": [{"text": min(body["logit_bias"])}]}) for body in bodies
    ...     ]
    >>> study = Study(send, prompts=("Write a word.",), chat=False)
    >>> bias(study)
    >>> study.findings["logit_bias"].verdict, study.findings["logit_bias"].requests
    ('honoured', 12)
    """
    before = study.requests, study.tokens
    pairs, bound = Pairs(study.alpha, _MISS), bound_of(study)
    ids = Identities()
    history: list[tuple[int, Mapping[str, float]]] = []
    words, row = None, _IDS[0]
    try:
        for row in _IDS:
            labels = _labels(row)
            words = pairs_of(study, pairs, labels, bound=bound, ids=ids, history=history, most=most)
            if words is None or pairs.count:
                break
    finally:
        spent = study.requests - before[0], study.tokens - before[1]
        if words is not None and not pairs.count:
            finding = refusal(words, {str(row[0]): AMOUNT}, spent)
        else:
            texts = [first for each in pairs.by_prompt.values() for first, _ in each]
            detail = f"{pairs.equal} of {pairs.count} pairs with the same biased id are equal"
            detail += f": {', '.join(map(_quoted, texts[:3]))}." if texts else "."
            claims = (Claim({str(row[0]): AMOUNT}, pairs.verdict, log_e=pairs.peak_ignored),)
            finding = found(study, pairs, spent, claims=claims, detail=detail, history=history)
        study.findings["logit_bias"] = finding


def _quoted(token: Token) -> str:
    return repr(token.decode("utf-8", "replace") if isinstance(token, bytes) else token)


def _labels(ids: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for each in ids:
        yield {"logit_bias": {str(each): AMOUNT}}
