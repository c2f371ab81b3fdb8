"""The same as a Python call and as a curl command."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from logitlab.engines.registry import get
from logitlab.models.model import Model
from logitlab.server.orders import ordered
from logitlab.server.sources import Row
from logitlab.server.stages import request_of, resolved_of

__all__ = ["spelled"]


def spelled(row: Row, model: Model, body: Mapping[str, Any], port: int = 8000) -> dict[str, str]:
    r"""Return what does the same outside of the page.

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> from logitlab.server.sources import Sources
    >>> model = NGram.bundled()
    >>> source = {"prompt": 3}
    >>> body = {"source": source, "request": {"top_p": 0.9}, "engine": "vllm"}
    >>> print(spelled(Sources(model).row(source), model, body)["python"])
    import logitlab as ll
    <BLANKLINE>
    rows = ll.datasets.load("smollm2")
    row, context = rows.logits[3], ll.Context(rows.prompt_ids[3])
    trace = ll.trace(row, {'top_p': 0.9}, engine='vllm', context=context)
    print(*zip(trace.names, trace.kept, trace.entropy), sep="\n")
    """
    resolved_of(body, row)  # says what is wrong with it
    return {"python": _python(row, model, body), "curl": _curl(row, model, body, port)}


def _python(row: Row, model: Model, body: Mapping[str, Any]) -> str:
    request, engine = request_of(body), get(body.get("engine", "openrouter")).name
    source = body["source"]
    lines = ["import logitlab as ll", ""]
    words = ""
    if "prompt" in source:
        i = source["prompt"]
        lines += [
            'rows = ll.datasets.load("smollm2")',
            f"row, context = rows.logits[{i}], ll.Context(rows.prompt_ids[{i}])",
        ]
        vocabulary = "rows.vocabulary"
    elif "text" in source:
        made = "ll.models.NGram.bundled()" if model.name == "grimm" else f"{model.name!r}"
        made = made if model.name == "grimm" else f"ll.models.load({made})"
        text = source["text"] or " "
        lines += [
            f"model = {made}",
            f"ids = model.encode({text!r})",
            "row, context = model.advance([model.start()], [ids])[0], ll.Context(ids)",
        ]
        vocabulary = "model.vocabulary"
    elif "lines" in source:
        assert row.vocabulary is not None
        lines += [
            f"row, context = {row.logits.tolist()!r}, ll.Context()",
            f"vocabulary = ll.Vocabulary({list(row.vocabulary)!r})",
        ]
        vocabulary = "vocabulary"
    else:
        lines = ["import numpy as np", *lines]
        lines += [
            'rows = np.load("mine.npy")  # the file that was dropped',
            f"row, context = rows.reshape(-1, rows.shape[-1])[{source.get('row', 0)}], "
            "ll.Context()",
        ]
        vocabulary = ""
    spells = any(isinstance(x, list | tuple) and _texts_in(x) for x in request.values())
    if spells and vocabulary:
        words = f", vocabulary={vocabulary}"
    if body.get("order") is None:
        call = f"trace = ll.trace(row, {request!r}, engine={engine!r}, context=context{words})"
        lines.append(call)
    else:
        own = resolved_of(body, row).chain
        moved = ordered(own, body["order"])
        places = _places(list(own), list(moved))
        lines += [
            f"chain = ll.engines.{engine}({request!r}, vocabulary_size=len(row){words})",
            f"chain = chain.of(*(chain[i] for i in {places!r}))  # the steps in another order",
            "trace = chain.trace(row, context)",
        ]
    lines.append('print(*zip(trace.names, trace.kept, trace.entropy), sep="\\n")')
    return "\n".join(lines)


def _texts_in(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list | tuple) and any(map(_texts_in, value))
    )


def _places(own: list[Any], moved: list[Any]) -> list[int]:
    """Return where each step stood before, each place once."""
    left = list(range(len(own)))
    places = []
    for step in moved:
        place = next(i for i in left if own[i] is step)
        left.remove(place)
        places.append(place)
    return places


def _curl(row: Row, model: Model, body: Mapping[str, Any], port: int) -> str:
    request, engine = dict(body.get("request", {})), get(body.get("engine", "openrouter")).name
    content = row.text if row.text is not None else "…"
    whole: dict[str, Any] = {"model": model.name}
    whole["messages"] = [{"role": "user", "content": content}]
    whole |= request
    if engine != "openrouter":
        whole["provider"] = {"order": [engine]}
    data = shlex.quote(json.dumps(whole, ensure_ascii=False))
    data = re.sub("[\ud800-\udfff]", "\ufffd", data)  # half a pair, which no shell can take
    return (
        f"curl http://127.0.0.1:{port}/v1/chat/completions \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {data}"
    )
