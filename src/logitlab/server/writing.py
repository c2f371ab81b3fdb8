"""A text token by token: drawn, forced, rewound, branched; and one that was pasted, scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Range, check_choice, check_integer
from logitlab.draw import COUPLINGS, resolve_seed
from logitlab.generation.forced import Forced
from logitlab.generation.loop import Loop
from logitlab.generation.options import Options
from logitlab.generation.preparation import prepare
from logitlab.generation.prompts import prompt_ids
from logitlab.generation.reading import Reading, next_logits
from logitlab.generation.row import Row
from logitlab.generation.score import score
from logitlab.generation.score_result import Likelihood, Processed, Score
from logitlab.models.model import Model
from logitlab.server.sources import text_of

__all__ = ["scored", "written"]

_ALTERNATIVES = 8
_MOST = 400  # tokens of one text: each answer judges all of them anew
_COUNTS = Range(0, _MOST, integer=True)
_SEQUENCES = Range(0, (1 << 62) - 1, integer=True)


def _request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request, without what is said of several answers or of reports."""
    request = body.get("request", {})
    if not isinstance(request, Mapping):
        raise ParameterError("request", "a map of parameters", request)
    return {k: x for k, x in request.items() if k not in ("n", "logprobs", "top_logprobs")}


def _prompt_of(body: Mapping[str, Any]) -> Any:
    text = body["prompt"] if "prompt" in body else text_of(body.get("source"))
    if not isinstance(text, str):
        raise ParameterError("prompt", "a text", text)
    return text


def written(model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
    """Go on with a text by ``count`` tokens, and tell of each token how likely it was.

    ``output`` has the ids so far, drawn or forced. A token is drawn as `generate` draws it at its
    place: so what is rewound and drawn again is the same, and another ``sequence`` is a branch.

    Raises
    ------
    ParameterError
        For whatever `generate` refuses, or more tokens than one text has here.

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> body = {"prompt": "Once upon a time", "request": {"seed": 7}, "count": 3}
    >>> answer = written(NGram.bundled(), body)
    >>> answer["text"], len(answer["tokens"][0]["alternatives"])
    (' rejo all three', 8)
    """
    request = _request_of(body)
    count = check_integer("count", body.get("count", 0), _COUNTS)
    sequence = check_integer("sequence", body.get("sequence", 0), _SEQUENCES)
    coupling = body.get("coupling", "inverse")
    check_choice("coupling", coupling, COUPLINGS)
    prompt = prompt_ids(model, _prompt_of(body) or model.encode(""))
    given = body.get("output", [])
    if not isinstance(given, list) or len(given) + count > _MOST:
        rule = f"a list of token ids, {_MOST} at most with those to come"
        raise ParameterError("output", rule, given)
    last = Range(0, len(model.vocabulary) - 1, integer=True)
    output = np.array([check_integer("output", token, last) for token in given], np.int64)
    options = Options(engine=body.get("engine", "openrouter"), sequence=sequence, coupling=coupling)
    prepared = prepare(model, request, options)
    seed = resolve_seed(prepared.resolved.seed)
    earlier = None
    if len(output):
        forced = Forced(model, prepared, prompt, output, seed, sequence, 0)
        reading = Reading(prompt)
        against = forced.negative
        for place in range(len(output)):
            asked = [(each, output[:place]) for each in (reading, against) if each is not None]
            logits = next_logits(model, asked)
            forced.judge(logits[0], logits[1] if against is not None else None)
        earlier = forced.row.generation()
        if len(earlier.tokens) < len(output):
            rule = f"no longer than the text, which had ended after {len(earlier.tokens)}"
            raise ParameterError("output", rule, given, str(earlier.finish))
    row = Row(0, model, prepared, prompt, seed, sequence, earlier)
    loop = Loop(model, [row], 1)
    while row.finish is None and row.length < len(output) + count:
        loop.step()
    answer: dict[str, Any] = {"seed": seed, "sequence": sequence, "tokens": [], "text": ""}
    answer["finish"] = None if row.finish is None else row.finish.sentence
    answer["notes"] = [note.sentence for note in prepared.notes]
    if row.length:
        tokens = row.output.copy()
        # The last of all is judged without its end, so that the end itself is not too late.
        judged = _score(model, tokens, prompt, request, body, seed)
        answer |= {"tokens": _told(model, judged), "text": judged.text}
    return answer


def _score(
    model: Model,
    text: str | IntArray,
    prompt: Any,
    request: Mapping[str, Any],
    body: Mapping[str, Any],
    seed: int | None,
) -> Score:
    kept = {key: value for key, value in request.items() if key not in ("max_tokens", "seed")}
    engine, sequence = body.get("engine", "openrouter"), body.get("sequence", 0)
    how: dict[str, Any] = {"engine": engine, "seed": seed, "sequence": sequence}
    count = min(_ALTERNATIVES, len(model.vocabulary))
    if not isinstance(engine, str):
        raise ParameterError("engine", "the name of an engine", engine)
    result = score(model, text, kept, prompt=prompt, top_logprobs=count, **how)
    assert isinstance(result, Score)
    return result


def scored(model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
    """Score a pasted answer: each token, and the step at which it would have died.

    Raises
    ------
    ParameterError
        For whatever `score` refuses.

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> body = {"prompt": "Once upon a time there", "answer": " was a king"}
    >>> answer = scored(NGram.bundled(), body | {"request": {"top_k": 3}})
    >>> answer["verdict"]
    'Token 3, ␣king, could not be drawn: step 1, TopK(3), removed it.'
    """
    answer = body.get("answer")
    if not isinstance(answer, str):
        raise ParameterError("answer", "a text", answer)
    request = _request_of(body)
    try:
        judged = _score(model, answer, _prompt_of(body) or None, request, body, None)
    except ParameterError as error:
        if error.name != "text":
            raise
        raise ParameterError("answer", error.rule, error.value, error.hint) from None
    if len(judged.tokens) > _MOST:
        raise ParameterError("answer", f"of at most {_MOST} tokens", len(judged.tokens))
    notes = (*judged.notes, *judged.processed.notes)
    return {
        "tokens": _told(model, judged),
        "text": judged.text,
        "verdict": judged.processed.verdict,
        "raw": _sums(judged.raw),
        "processed": _sums(judged.processed),
        "notes": [note.sentence for note in notes],
    }


def _sums(likelihood: Likelihood) -> dict[str, float | None]:
    sums = {
        "total": likelihood.total,
        "perplexity": likelihood.perplexity,
        "bits_per_byte": likelihood.bits_per_byte,
    }
    return {key: value if np.isfinite(value) else None for key, value in sums.items()}


def _told(model: Model, judged: Score) -> list[dict[str, Any]]:
    """Return every token with its probability, and what could have stood in its place."""
    raw, own = judged.raw, judged.processed
    removals = {removal.position: removal for removal in own.removals}
    told = []
    for place, token in enumerate(judged.tokens.tolist()):
        removal = removals.get(place)
        told.append(
            {
                **_named(model, token),
                "p": float(np.exp(own.logprobs[place])),
                "raw": float(np.exp(raw.logprobs[place])),
                "rank": int(raw.ranks[place]),
                "died": None if removal is None else removal.sentence,
                "step": None if removal is None else removal.name,
                "alternatives": _alternatives(model, raw, own, place),
            }
        )
    return told


def _named(model: Model, token: int) -> dict[str, Any]:
    label, data = model.vocabulary.label(token), model.vocabulary[token]
    text = data.decode("utf-8", "replace")
    is_plain = all(each.isprintable() or each in "\n\t" for each in text) and "\ufffd" not in text
    if token in model.vocabulary.special or not (text and is_plain):
        text = label  # what the eye cannot see
    return {"id": token, "label": label, "text": text}


def _alternatives(
    model: Model, raw: Likelihood, own: Processed, place: int
) -> list[dict[str, Any]]:
    """Return the most likely tokens under the request, then the model's own that are removed."""
    tops = own.top_tokens[place].tolist(), np.exp(own.top_logprobs[place]).tolist()
    known = {token: p for token, p in zip(*tops, strict=True) if p > 0}
    is_whole = len(known) < len(tops[0])  # then whatever is not among them is removed
    others = raw.top_tokens[place].tolist() if is_whole else []
    rest = [token for token in others if token not in known]
    return [
        *({**_named(model, token), "p": p} for token, p in known.items()),
        *({**_named(model, token), "p": None} for token in rest[: len(tops[0]) - len(known)]),
    ]
