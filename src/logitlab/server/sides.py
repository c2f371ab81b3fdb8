"""Engines side by side: what each makes of the same request, and where two part ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from logitlab import metrics
from logitlab.engines import MAIN
from logitlab.engines.compare import SAME, Comparison, compare_engines
from logitlab.engines.registry import get
from logitlab.numerics import softmax
from logitlab.server.sources import Row
from logitlab.server.stages import request_of, shown_tokens, tops_of

__all__ = ["compared", "parted"]


def _comparison(row: Row, body: Mapping[str, Any], engines: list[str]) -> Comparison:
    request, words = request_of(body), row.vocabulary
    return compare_engines(
        row.logits, request, context=row.context, engines=engines, vocabulary=words
    )


def compared(row: Row, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return all engines beside the body's own, which comes first, with their distance to it.

    Raises
    ------
    ParameterError
        For what `compare_engines` refuses. Engines that refuse are in ``refused``.
    """
    count, first = tops_of(body), get(body.get("engine", "openrouter")).name
    names = [first, *(name for name in MAIN if name != first)]
    result = _comparison(row, body, names)
    stages = [row.logits, *result.logits]
    tokens = shown_tokens(stages[:2], row.order, count)
    sides = []
    for i, name in enumerate(result.engines):
        logits, distance = result.logits[i], None
        if result.engines[0] == first:
            distance = float(metrics.total_variation(result.logits[0], logits)) if i else 0.0
        living = logits[logits > -np.inf]
        probs = softmax(logits)[tokens].tolist()
        gone = (logits[tokens] == -np.inf).tolist()
        sides.append(
            {
                "name": name,
                "title": get(name).title,
                "kept": len(living),
                "entropy": float(metrics.entropy(living)),
                "distance": distance,
                "is_same": distance is not None and distance <= SAME,
                "probs": [None if away else p for p, away in zip(probs, gone, strict=True)],
                "chain": repr(result.chains[name]),
                "notes": [note.sentence for note in result.notes[name]],
            }
        )
    return {
        "reference": first,
        "tokens": [row.named(int(token)) for token in tokens],
        "sides": sides,
        "refused": dict(result.refused),
    }


def parted(row: Row, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sentences where the body's engine and ``other`` part ways.

    Raises
    ------
    ParameterError
        For an unknown engine, or one that refuses the request.
    """
    first, second = get(body.get("engine", "openrouter")).name, get(body.get("other", "")).name
    if first == second:
        return {"other": second, "partings": []}
    result = _comparison(row, body, [first, second])
    sentences = [
        {"sentence": str(each), "distance": each.distance}
        for each in result.partings(first, second)
    ]
    return {"other": second, "partings": sentences}
