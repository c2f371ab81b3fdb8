"""What a request makes of a row, stage by stage, and the steps in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError, Range, brief, check_choice, check_integer
from logitlab.draw import COUPLINGS
from logitlab.engines.registry import ENGINES, get
from logitlab.engines.resolve import Resolved, resolve
from logitlab.numerics import softmax
from logitlab.request.params import PARAMETERS
from logitlab.sampling.sampler import sample
from logitlab.server.orders import key_of, ordered, owners
from logitlab.server.sources import Row
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import AdditivePenalty
from logitlab.steps.step import Step, Transform

__all__ = [
    "ordered",
    "request_of",
    "resolved_of",
    "shown_tokens",
    "tops_of",
    "traced",
]

_TOPS = Range(1, 40, integer=True)


def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return that part of a request which says something of one token.

    Examples
    --------
    >>> request_of({"request": {"top_p": 0.9, "max_tokens": 5}})
    {'top_p': 0.9}
    """
    request = body.get("request", {})
    if not isinstance(request, Mapping):
        raise ParameterError("request", "a map of parameters", request)
    return {
        key: value
        for key, value in request.items()
        if key not in PARAMETERS or PARAMETERS[key].role in ("distribution", "draw")
    }


def _unused(body: Mapping[str, Any]) -> list[str]:
    """Say what of a request is for whole texts alone."""
    names = [key for key in body.get("request", {}) if key not in request_of(body)]
    if not names:
        return []
    verb = "says" if len(names) == 1 else "say"
    return [f"{', '.join(names)} {verb} nothing of a single token: see where texts are written."]


def resolved_of(body: Mapping[str, Any], row: Row) -> Resolved:
    """Return the request of a body for a row, read by the body's engine."""
    engine = body.get("engine", "openrouter")
    words = row.vocabulary
    return resolve(request_of(body), engine, size=len(row.logits), vocabulary=words)


def tops_of(body: Mapping[str, Any]) -> int:
    """Return how many tokens are to be shown."""
    return check_integer("top", body.get("top", 14), _TOPS)


def traced(row: Row, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stages of a request on a row: what is drawn of them, and not the row.

    ``probs`` of a stage are those of ``tokens``, None where a token is removed.

    Raises
    ------
    ParameterError
        For whatever `trace` refuses.
    """
    count = tops_of(body)
    coupling = body.get("coupling", "inverse")
    check_choice("coupling", coupling, COUPLINGS)
    resolved = resolved_of(body, row)
    own = resolved.chain
    order = body.get("order")
    chain = own if order is None else ordered(own, order)
    trace = chain.trace(row.logits, row.context)
    stages = list(trace.logits)
    tokens = shown_tokens(stages, row.order, count)
    heads: list[Any] = [None, *chain]  # a step with a state is still called so
    reports = []
    for i, (head, logits) in enumerate(zip(heads, stages, strict=True)):
        before = stages[max(i - 1, 0)]
        reports.append(_report(head, trace.names[i], before, logits, tokens))
    how: dict[str, Any] = {"context": row.context, "coupling": coupling}
    seed = resolved.seed
    drawn = None
    if seed is not None:
        drawn = row.named(int(sample(row.logits, chain, seed=seed, **how).tokens))
    answer = {
        "row": row.title,
        "text": row.text,
        "vocabulary_size": len(row.logits),
        "chain": repr(chain),
        "tokens": [row.named(int(token)) for token in tokens],
        "stages": reports,
        "notes": [*(note.sentence for note in resolved.notes), *_unused(body)],
        "seed": seed,
        "drawn": drawn,
        "order": None,
    }
    if order is not None:
        answer["order"] = _about_order(row, body, own, chain, stages[-1])
    return answer


def _report(
    head: Transform | None,
    name: str,
    before: FloatArray,
    logits: FloatArray,
    tokens: IntArray,
) -> dict[str, Any]:
    """Return the measures of a stage, taken of survivors alone: of a cut row there are few."""
    alive = np.flatnonzero(before > -np.inf)
    whole = len(alive) == len(before)
    left = before if whole else before[alive]
    after = logits if whole else logits[alive]
    removed = 0.0
    if head is not None and not (after > -np.inf).all():
        removed = float(metrics.mass_removed(left, after))
    ids = np.flatnonzero(logits > -np.inf)
    living = logits[ids]
    left_probs = softmax(living)
    places = np.minimum(ids.searchsorted(tokens), len(ids) - 1)
    probs = [
        float(left_probs[place]) if ids[place] == token else None
        for place, token in zip(places.tolist(), tokens.tolist(), strict=True)
    ]
    return {
        "name": name,
        "key": None if head is None else key_of(head),
        "value": _value(head),
        "kept": len(ids),
        "entropy": float(metrics.entropy(living)),
        "removed": removed,
        "probs": probs,
    }


def _value(step: Transform | None) -> str:
    if not isinstance(step, Step):
        return ""
    if isinstance(step, AdditivePenalty):
        return f"{brief(step.value)} and presence {brief(step.presence)}"
    value = step.value
    text = f"{value:.6g}" if isinstance(value, int | float) else brief(value)
    return text if len(text) <= 24 else text[:21] + "…"


def shown_tokens(stages: Sequence[FloatArray], order: IntArray, count: int) -> IntArray:
    """Return the tokens to show, in the order of the model's own row, the first stage.

    Half are the model's most likely, at least; then come the most likely ones of the last stage,
    and the likeliest that each step removed.

    Examples
    --------
    >>> from logitlab import TopK
    >>> row = np.array([3.0, 2.0, 1.0, 0.0])
    >>> shown_tokens([row, TopK(1)(row)], np.arange(4), 3)
    array([0, 1, 2])
    """
    last, half = stages[-1], (count + 1) // 2
    few = np.argpartition(-last, count)[:count] if count < len(last) else np.arange(len(last))
    finals = few[np.lexsort((few, -last[few]))]
    finals = finals[last[finals] > -np.inf]
    removed = []
    for before, after in pairwise(stages):
        loss = np.where(after == -np.inf, before, -np.inf)
        if loss.max() > -np.inf:
            removed.append(int(loss.argmax()))
    wanted = [*order[:half], *finals[:3], *removed, *order[half:count], *finals[3:]]
    chosen = list(dict.fromkeys(map(int, wanted)))[:count]
    tokens = np.array(chosen)
    first = stages[0]
    shown: IntArray = tokens[np.lexsort((tokens, -first[tokens]))]
    return shown


def _about_order(
    row: Row, body: Mapping[str, Any], own: Chain, chain: Chain, final: FloatArray
) -> dict[str, Any]:
    """Say which engines have an order, and how far it leads from the engine's own."""
    theirs, told = owners(chain, request_of(body), row)
    name = get(body.get("engine", "openrouter")).name
    others = [each for each in theirs if each != name]
    if list(map(key_of, chain)) == list(map(key_of, own)):
        sentence = f"This is the order of {name} itself"
        sentence += f", and of {', '.join(others)}." if others else "."
    elif theirs:
        sentence = f"This is the order of {', '.join(theirs)}."
    else:
        sentence = f"None of the {len(ENGINES)} engines has this order by itself."
    for each, option in told.items():
        sentence += f" {each} takes it when told, by {', '.join(option)}."
    distance = float(metrics.total_variation(own(row.logits, row.context), final))
    return {"engines": theirs, "told": told, "distance": distance, "sentence": sentence}
