"""``logitlab score``: how likely a text was, token by token, and what would have removed it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from logitlab.checks import ParameterError
from logitlab.cli.arguments import (
    ONE_TOKEN,
    add_command,
    add_model,
    add_options,
    add_request,
    add_state,
    ids_of,
    request_of,
    state_of,
)
from logitlab.cli.colours import coloured, has_colours
from logitlab.cli.generate import add_json_schema, add_schema, text_of
from logitlab.cli.text import as_json, columns
from logitlab.engines.registry import ENGINES
from logitlab.generation.score import score
from logitlab.generation.score_result import Likelihood, Processed, Score
from logitlab.models import Model, load

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command ``score``: how likely a text was, token by token."""
    parser = add_command(
        commands,
        "score",
        _score,
        help="how likely a text was, and which of its tokens could not have been drawn",
        description="Force a text through a model, and tell of every token how likely it was, and "
        "which step of a request would have removed it. The bundled model has read the Grimms' "
        "fairy tales.",
    )
    parser.add_argument("text", help="the text; - reads it from standard input")
    add_model(parser)
    add_options(
        parser,
        ("--prompt", "TEXT", "what comes before it (nothing)"),
        ("--chat", None, "the prompt is what a user says to the model, and the text its answer"),
        ("--ids", None, "the text is token ids: 5,17,5"),
        ("--end", None, "score the token that ends the text, too"),
    )
    add_request(parser, (*ONE_TOKEN, "ending", "prompt"))
    add_json_schema(parser)
    show = parser.add_argument_group("output")
    show.add_argument(
        "--engine",
        choices=ENGINES,
        action="append",
        metavar="NAME",
        help="whose chain it is, once for each of several (openrouter): " + ", ".join(ENGINES),
    )
    add_state(show)
    add_options(show, ("--json", None, "print JSON, with every token"))


def _score(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what is printed; where every engine of several refuses, leave with the status 1."""
    request = request_of(arguments)
    add_schema(request, arguments)
    names = arguments.engine or ["openrouter"]
    text: Any = text_of("text", arguments.text)
    prompt: Any = arguments.prompt
    if arguments.chat:
        if prompt is None:
            raise ParameterError("--chat", "given together with --prompt", True)
        prompt = [{"role": "user", "content": prompt}]
    model = load(arguments.model)
    result = score(
        model,
        ids_of(text, "text") if arguments.ids else text,
        request,
        prompt=prompt,
        engine=names[0] if len(names) == 1 else names,
        end=arguments.end,
        state=state_of(arguments),
    )
    if arguments.json:
        yield as_json(_report(result, model, {"prompt": arguments.prompt, "request": request}))
        yield "\n"
    else:
        notes = [*result.notes, *(note for own in result.engines.values() for note in own.notes)]
        for sentence in dict.fromkeys(note.sentence for note in notes):
            print(sentence, file=sys.stderr)
        yield f"{_shown(result, model)}\n\n{_told(result)}\n"
    if not result.engines:
        raise SystemExit(1)


def _shown(result: Score, model: Model) -> str:
    """Return the text in colours, or a line for each token."""
    probabilities = np.exp(result.raw.logprobs).tolist()
    tokens = result.tokens.tolist()
    removals = [
        {removal.position: removal for removal in own.removals} for own in result.engines.values()
    ]
    if has_colours():
        marked = {place for each in removals for place in each}
        shown = coloured(tokens, probabilities, model.vocabulary, len(result.text), marked)
        return f"{shown}{'; reversed: could not be drawn' if marked else ''}"
    lines = [["token", "model", "rank", *result.engines]]
    for i, (token, probability) in enumerate(zip(tokens, probabilities, strict=True)):
        cells = [model.vocabulary.label(token), _share(probability), str(result.raw.ranks[i])]
        for own, each in zip(result.engines.values(), removals, strict=True):
            here = math.exp(own.logprobs[i])
            cells.append(f"– {each[i].name}" if i in each else _share(here))
        lines.append(cells)
    return "\n".join(columns(lines))


def _share(probability: float) -> str:
    """Return a probability with four decimals, and a smaller one as a power of ten."""
    is_small = 0 < probability < 5e-5
    return f"{probability:.1e}" if is_small else f"{probability:.4f}"


def _told(result: Score) -> str:
    """Return how likely the whole text is, and what each engine would have kept from it."""
    raw, count = result.raw, len(result.tokens)
    tokens = f"{count} token{'' if count == 1 else 's'}, {raw.byte_count} bytes"
    lines = [
        f"{tokens}: log-likelihood {raw.total:.3f} nats, perplexity {raw.perplexity:.4g}, "
        f"{raw.bits_per_byte:.4g} bits per byte."
    ]
    lines += [f"{name}: {own.verdict}" for name, own in result.engines.items()]
    lines += [f"{name}: refused. {why}" for name, why in result.refused.items()]
    return "\n".join(lines)


def _report(result: Score, model: Model, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a score as a JSON object; what is not finite is null."""
    ids = result.tokens.tolist()
    labels = [{"id": token, "label": model.vocabulary.label(token)} for token in ids]
    own = [entry | place for entry, place in zip(labels, _places(result.raw), strict=True)]
    return {
        "model": result.model,
        "text": result.text,
        **asked,
        "prompt_tokens": result.prompt.tolist(),
        "tokens": own,
        **_totals(result.raw),
        "engines": {name: _engine_entry(each) for name, each in result.engines.items()},
        "refused": dict(result.refused),
        "notes": [note.sentence for note in result.notes],
    }


def _engine_entry(own: Processed) -> dict[str, Any]:
    places: list[dict[str, Any]] = [entry | {"removed": None} for entry in _places(own)]
    for removal in own.removals:
        about = {"cause": removal.cause, "step": removal.step, "name": removal.name}
        places[removal.position]["removed"] = about
    return {
        "chain": repr(own.chain),
        "verdict": own.verdict,
        "tokens": places,
        **_totals(own),
        "notes": [note.sentence for note in own.notes],
    }


def _places(part: Likelihood) -> list[dict[str, Any]]:
    columns_ = part.logprobs.tolist(), part.ranks.tolist(), part.entropy.tolist()
    return [
        {"logprob": _finite(logprob), "rank": rank or None, "entropy": _finite(entropy)}
        for logprob, rank, entropy in zip(*columns_, strict=True)
    ]


def _totals(part: Likelihood) -> dict[str, Any]:
    return {
        "total": _finite(part.total),
        "perplexity": _finite(part.perplexity),
        "bits_per_byte": _finite(part.bits_per_byte),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
