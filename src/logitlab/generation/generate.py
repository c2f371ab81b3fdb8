"""`generate` and `stream`: a model, a prompt and a request become text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)
from logitlab.constraints import Constraint
from logitlab.draw import COUPLINGS, SeedLike, resolve_seed
from logitlab.engines import Engine, get
from logitlab.generation.loop import Loop, Row
from logitlab.generation.preparation import LOGPROBS_MODES, prepare
from logitlab.generation.prompts import Prompt, are_prompts, prompt_ids
from logitlab.generation.result import Asked, Generation, Options, Piece
from logitlab.models.model import Model
from logitlab.numerics import IntArray
from logitlab.progress import Progress, interruptible

__all__ = ["VERBOSITY_BIAS", "generate", "resume", "stream"]

VERBOSITY_BIAS = math.log(1.5)
"""What "low" adds to the logit of every token that ends a text, and "high" takes away."""

_POSITIVE = Range(1, integer=True)
_SEQUENCE = Range(0, (1 << 62) - 1, integer=True)


@overload
def generate(
    model: Model,
    prompt: Prompt,
    params: Asked = None,
    *,
    n: None = None,
    engine: str | Engine = "openrouter",
    seed: SeedLike = None,
    sequence: int = 0,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    logprobs_mode: Literal["engine", "raw", "processed"] = "engine",
    verbosity_bias: float = VERBOSITY_BIAS,
    trace: bool = False,
    constraint: Constraint | Sequence[Constraint | None] | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
    **parameters: Any,
) -> Generation: ...


@overload
def generate(
    model: Model,
    prompt: Prompt | Sequence[Prompt],
    params: Asked | Sequence[Asked] = None,
    *,
    n: int | None = None,
    engine: str | Engine = "openrouter",
    seed: SeedLike | Sequence[int] = None,
    sequence: int = 0,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    logprobs_mode: Literal["engine", "raw", "processed"] = "engine",
    verbosity_bias: float = VERBOSITY_BIAS,
    trace: bool = False,
    constraint: Constraint | Sequence[Constraint | None] | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
    **parameters: Any,
) -> list[Generation]: ...


def generate(
    model: Model,
    prompt: Any,
    params: Any = None,
    *,
    n: int | None = None,
    engine: str | Engine = "openrouter",
    seed: Any = None,
    sequence: int = 0,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    logprobs_mode: Literal["engine", "raw", "processed"] = "engine",
    verbosity_bias: float = VERBOSITY_BIAS,
    trace: bool = False,
    constraint: Constraint | Sequence[Constraint | None] | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
    **parameters: Any,
) -> Any:
    """Let a model write.

    Parameters
    ----------
    model : Model
        Such as ``models.NGram.bundled()``.
    prompt : str, token ids, chat messages, or a list of prompts
        A text, a sequence of token ids, or messages with "role" and "content", which go through
        the model's template. Of a list each is a request of its own.
    params : SamplingParams, mapping, Chain, or a list of these
        The request. A mapping is a request body; a chain acts on the logits as it is. A list has
        one for each prompt, or several for one prompt.
    n : int, optional
        How many answers to each prompt; they are the sequences ``sequence``, ``sequence + 1`` …
        of one seed.
    engine : str or Engine
        Whose chain the request means, and over which tokens its penalties count. Tokens are drawn
        with logitlab's own numbers: `Engine.draw` repeats those of an engine.
    seed : int, numpy.random.Generator, None, or a list of int
        None takes that of the request, or else a fresh one for each request, which the result
        reports. A list has one for each prompt, or several for one prompt.
    sequence : int
        Which random sequence of the seed is used: the number of a single answer out of ``n``.
    coupling : {"inverse", "gumbel"}
        How a token is drawn, see `sample`.
    logprobs_mode : {"engine", "raw", "processed"}
        Whose log-probabilities are reported: what the engine reports (at OpenRouter the model's
        own), the model's own, or those of the distribution that is drawn from.
    verbosity_bias : float
        verbosity "low" adds so much to the logit of every token that ends a text, "high" takes it
        away. By default ln 1.5: the odds of ending are multiplied by 1.5, or divided.
    trace : bool
        Keep every stage of every token's distribution, after the constraint.
    constraint : Constraint, None, or a list of these
        Which texts may be written, such as ``constraints.Regex("[0-9]+")``; where the request has
        no ``response_format`` and no tools. A list has one for each prompt, or several for one.
    batch_size : int
        How many answers are written at a time.
    progress : bool, optional
        Show a progress bar after a second; None does where standard error is a terminal.
    **parameters
        Any of the request parameters, in place of those of ``params``.

    Returns
    -------
    Generation or list of Generation
        A list if there is a list of prompts, params, seeds or constraints, or ``n``: the n answers
        to the first prompt, those to the second, and so on. Each is a function of (model, prompt,
        params, seed, sequence) alone, whatever else is in the batch. After Ctrl-C the answers that
        are not finished have the finish reason "interrupted", and `resume` completes them.

    Raises
    ------
    ParameterError
        Before anything is drawn, for whatever is wrong with prompt or request.

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> answer = generate(model, "Once upon a time", temperature=0, max_tokens=5)
    >>> answer.finish_reason, answer.usage.completion_tokens
    ('length', 5)
    >>> print(answer.finish)
    max_tokens 5 was reached.
    """
    _check_call(model, batch_size, progress)
    options = _options(engine, coupling, logprobs_mode, verbosity_bias, trace, parameters)
    rows = _rows(model, prompt, params, n, seed, sequence, constraint, options)
    found = _finished(Loop(model, rows, batch_size), progress)
    many = any(map(_is_many, (params, seed, constraint))) or are_prompts(prompt)
    if n is None and not many:
        return found[0]
    return found


def stream(
    model: Model,
    prompt: Prompt | Sequence[Prompt],
    params: Asked | Sequence[Asked] = None,
    *,
    n: int | None = None,
    engine: str | Engine = "openrouter",
    seed: SeedLike | Sequence[int] = None,
    sequence: int = 0,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    logprobs_mode: Literal["engine", "raw", "processed"] = "engine",
    verbosity_bias: float = VERBOSITY_BIAS,
    trace: bool = False,
    constraint: Constraint | Sequence[Constraint | None] | None = None,
    batch_size: int = 64,
    **parameters: Any,
) -> Iterator[Piece]:
    """Let a model write, and yield every token as it comes.

    The arguments are those of `generate`, and so are the answers.

    Yields
    ------
    Piece
        One for each token, with the text that can be shown: never a part of a stop string, or of
        a character. The last piece of an answer carries the whole `Generation`.

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> pieces = list(stream(model, "Once upon a time", seed=7, max_tokens=20, stop=["the"]))
    >>> "".join(piece.text for piece in pieces) == pieces[-1].generation.text
    True
    """
    _check_call(model, batch_size, None)
    options = _options(engine, coupling, logprobs_mode, verbosity_bias, trace, parameters)
    rows = _rows(model, prompt, params, n, seed, sequence, constraint, options)
    return _pieces(Loop(model, rows, batch_size))


def resume(
    model: Model,
    generations: Sequence[Generation],
    *,
    max_tokens: int | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
) -> list[Generation]:
    """Complete generations that were interrupted, or cut off by max_tokens.

    Parameters
    ----------
    model : Model
        The one that began them.
    generations : sequence of Generation, or one
        What is finished stays as it is.
    max_tokens : int, optional
        In place of that of the requests, counted from the beginning: at least as many as there are.
    batch_size, progress
        As of `generate`.

    Returns
    -------
    list of Generation
        Equal to what an undisturbed `generate` returns.

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> begun = generate(model, "Once upon a time", seed=7, max_tokens=5)
    >>> [whole] = resume(model, [begun], max_tokens=20)
    >>> whole.text == generate(model, "Once upon a time", seed=7, max_tokens=20).text
    True
    """
    _check_call(model, batch_size, progress)
    begun = list(generations) if isinstance(generations, Iterable) else [generations]
    if isinstance(generations, str) or not all(isinstance(one, Generation) for one in begun):
        raise ParameterError("generations", "a sequence of Generation", generations)
    if max_tokens is not None:
        check_integer("max_tokens", max_tokens, _POSITIVE)
    rows = {
        index: _resumed(index, model, earlier, max_tokens)
        for index, earlier in enumerate(begun)
        if earlier.finish.reason == "interrupted" or (max_tokens and earlier.finish.is_cut)
    }
    done = _finished(Loop(model, list(rows.values()), batch_size), progress)
    completed = dict(zip(rows, done, strict=True))
    return [completed.get(index, earlier) for index, earlier in enumerate(begun)]


def _resumed(index: int, model: Model, earlier: Generation, max_tokens: int | None) -> Row:
    """Return the row that goes on from what there is."""
    if model.name != earlier.model:
        raise ParameterError("model", f"{earlier.model}, which began the text", model.name)
    options = earlier.options
    if max_tokens is not None:
        if max_tokens < len(earlier.tokens):
            rule = f"at least the {len(earlier.tokens)} tokens that there are"
            raise ParameterError("max_tokens", rule, max_tokens)
        options = replace(options, parameters={**options.parameters, "max_tokens": max_tokens})
    prepared = prepare(model, earlier.params, options)
    return Row(index, model, prepared, earlier.prompt, earlier.seed, earlier.sequence, earlier)


def _check_call(model: object, batch_size: int, progress: object) -> None:
    if not isinstance(model, Model):
        raise ParameterError("model", "a Model", model)
    check_integer("batch_size", batch_size, _POSITIVE)
    if progress is not None:
        check_flag("progress", progress)


# ---------------------------------------------------------------- what was asked


def _options(
    engine: str | Engine,
    coupling: str,
    logprobs_mode: str,
    verbosity_bias: float,
    trace: bool,
    parameters: Mapping[str, Any],
) -> Options:
    check_choice("coupling", coupling, COUPLINGS)
    check_choice("logprobs_mode", logprobs_mode, LOGPROBS_MODES)
    check_flag("trace", trace)
    size = check_number("verbosity_bias", verbosity_bias)
    return Options(get(engine), coupling, logprobs_mode, size, trace, dict(parameters))


def _rows(
    model: Model,
    prompt: Any,
    params: Any,
    n: int | None,
    seed: Any,
    sequence: int,
    constraint: Any,
    options: Options,
) -> list[Row]:
    """Return the rows of a call: for each request as many as there are answers to it."""
    answers = 1 if n is None else check_integer("n", n, _POSITIVE)
    first = check_integer("sequence", sequence, _SEQUENCE)
    texts = list(prompt) if are_prompts(prompt) else [prompt]
    requests = list(params) if _is_many(params) else [params]
    seeds = list(seed) if _is_many(seed) else [seed]
    masks = list(constraint) if _is_many(constraint) else [constraint]
    lengths = {
        "prompt": len(texts),
        "params": len(requests),
        "seed": len(seeds),
        "constraint": len(masks),
    }
    count = max(lengths.values())
    for name, length in lengths.items():
        if length not in (1, count):
            raise ParameterError(name, f"one, or a list of {count}", Seen(f"a list of {length}"))
    for mask in masks:
        if mask is not None and not isinstance(mask, Constraint):
            raise ParameterError("constraint", "a Constraint or None", mask)
    pairs = [(requests[i % len(requests)], masks[i % len(masks)])
             for i in range(max(len(requests), len(masks)))]  # fmt: skip
    ready = [prepare(model, one, replace(options, constraint=mask)) for one, mask in pairs]
    known: dict[tuple[int, int], IntArray] = {}
    rows: list[Row] = []
    for i in range(count):
        prepared, own = ready[i % len(ready)], seeds[i % len(seeds)]
        place = i % len(texts), i % len(ready)
        if place not in known:
            try:
                known[place] = prompt_ids(model, texts[place[0]], prepared.tools)
            except ParameterError as error:
                raise (error.inside(f"prompt {place[0]}") if len(texts) > 1 else error) from None
        used = resolve_seed(prepared.seed if own is None else own)
        for j in range(answers):
            rows.append(Row(len(rows), model, prepared, known[place], used, first + j))
    return rows


def _is_many(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, list | tuple | range)


# ---------------------------------------------------------------- how it runs


def _pieces(loop: Loop) -> Iterator[Piece]:
    while not loop.is_done:
        yield from loop.step()


def _finished(loop: Loop, progress: bool | None) -> list[Generation]:
    with Progress("tokens", progress) as bar, interruptible() as is_interrupted:
        while not (loop.is_done or is_interrupted()):
            loop.step()
            bar.update(loop.drawn, loop.expected)
    return [row.generation() for row in loop.rows]
