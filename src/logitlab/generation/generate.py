"""`generate` and `stream`: a model, a prompt and a request become text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from logitlab.checks import ParameterError, Range, Seen, check_integer
from logitlab.engines.resolve import Request
from logitlab.generation.loop import Loop
from logitlab.generation.options import Options, shows_options
from logitlab.generation.preparation import prepare
from logitlab.generation.prompts import Prompt, are_prompts
from logitlab.generation.result import Generation, Piece
from logitlab.generation.row import Row, is_list, rows_of
from logitlab.models.model import Model, check_model
from logitlab.progress import Progress, interruptible

__all__ = ["generate", "generate_many", "resume", "stream"]

_AT_LEAST_ONE = Range(1, integer=True)


@overload
def generate(
    model: Model, prompt: Prompt, request: Request = None, *, n: None = None, **keywords: Any
) -> Generation: ...


@overload
def generate(
    model: Model, prompt: Prompt, request: Request = None, *, n: int, **keywords: Any
) -> list[Generation]: ...


@shows_options
def generate(
    model: Model,
    prompt: Prompt,
    request: Request = None,
    *,
    n: int | None = None,
    **keywords: Any,
) -> Any:
    """Let a model write.

    Parameters
    ----------
    model : Model
        Such as ``models.NGram.bundled()``.
    prompt : str, token ids, or chat messages
        A text, a sequence of token ids, or messages with "role" and "content", which go through
        the model's template.
    request : SamplingParams, mapping, Chain or None
        A mapping is a request body; a chain acts on the logits as it is.
    n : int, optional
        How many answers, 65,536 at most; they are the sequences ``sequence``, ``sequence + 1`` … of
        one seed. None takes the request's ``n``.
    **keywords
        Fields of `generation.options.Options`, such as ``engine``, ``seed``, ``coupling``,
        ``logprobs_mode``, ``constraint``, ``trace`` and ``progress``; and any of the request
        parameters, in place of those of the request.

    Returns
    -------
    Generation, or list of Generation where ``n`` is given
        Each is a function of (model, prompt, request, seed, sequence) alone, whatever else is in
        the batch. After Ctrl-C the answers that are not finished have the finish reason
        "interrupted", and `resume` completes them. With ``n`` an answer that cannot be continued
        under its constraint has the finish reason "error", and the others are as they are.

    Raises
    ------
    ParameterError
        Before anything is drawn, for whatever is wrong with prompt or request. Without ``n`` also
        if the answer cannot be continued under its constraint.

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
    options = Options.of(keywords)
    loop = _loop(model, [prompt], [request], [options], [options.seed], n)
    answers = _finished(loop, options.progress)
    if loop.rows[0].prepared.answers is not None:
        return answers
    if loop.rows[0].error:
        raise loop.rows[0].error
    return answers[0]


@shows_options
def stream(
    model: Model,
    prompt: Prompt,
    request: Request = None,
    *,
    n: int | None = None,
    **keywords: Any,
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
    options = Options.of(keywords)
    if options.progress:
        raise ParameterError("progress", "None where the text is streamed", options.progress)
    return _pieces(_loop(model, [prompt], [request], [options], [options.seed], n), n is None)


@shows_options
def generate_many(
    model: Model,
    prompts: Prompt | Sequence[Prompt],
    requests: Request | Sequence[Request] = None,
    *,
    n: int | None = None,
    seed: Any = None,
    constraint: Any = None,
    state: Any = None,
    **keywords: Any,
) -> list[Generation]:
    """Let a model write many texts at a time.

    Parameters
    ----------
    model : Model
    prompts : a prompt as of `generate`, or a list of prompts
    requests : a request as of `generate`, or a list of those
    n : int, optional
        How many answers to each prompt. None takes the ``n`` of each request.
    seed : as of `generate`, or a list of int
    constraint : as of `generate`, or a list of those
    state : as of `generate`, or a list of those
        Each list has one for each prompt, or several for one prompt.
    **keywords
        As of `generate`.

    Returns
    -------
    list of Generation
        The n answers to the first prompt, those to the second, and so on: each as if it had been
        asked for alone. One that cannot be continued under its constraint has the finish reason
        "error".

    Raises
    ------
    ParameterError
        Before anything is drawn, for whatever is wrong with a prompt or request.

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> answers = generate_many(model, ["The king", "The wolf"], n=2, seed=7, max_tokens=3)
    >>> [answer.text for answer in answers]
    [' Curdken went down', ' rejoiced when he', ' shar one stand', ' stands at the']
    """
    texts: list[Any] = list(prompts) if are_prompts(prompts) else [prompts]
    lists: dict[str, list[Any]] = {
        "prompts": texts,
        "requests": list(requests) if is_list(requests) else [requests],  # type: ignore[arg-type]
        "seed": list(seed) if is_list(seed) else [seed],
        "constraint": list(constraint) if is_list(constraint) else [constraint],
        "state": list(state) if is_list(state) else [state],
    }
    count = max(map(len, lists.values()))
    for name, each in lists.items():
        if len(each) not in (1, count):
            raise ParameterError(name, f"one, or a list of {count}", Seen(f"a list of {len(each)}"))
    common = Options.of(keywords)
    masks, states = lists["constraint"], lists["state"]
    options = [
        replace(common, constraint=masks[i % len(masks)], state=states[i % len(states)])
        for i in range(max(len(masks), len(states)))
    ]
    loop = _loop(model, texts, lists["requests"], options, lists["seed"], n)
    return _finished(loop, common.progress)


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
    check_model(model, "generations")
    call = Options(batch_size=batch_size, progress=progress)
    begun = [generations] if isinstance(generations, Generation | np.ndarray) else generations
    begun = list(begun) if isinstance(begun, Iterable) else [begun]
    if isinstance(generations, str) or not all(isinstance(one, Generation) for one in begun):
        raise ParameterError("generations", "a sequence of Generation", generations)
    if max_tokens is not None:
        max_tokens = check_integer("max_tokens", max_tokens, _AT_LEAST_ONE)
    rows = {
        index: _resumed(index, model, earlier, max_tokens)
        for index, earlier in enumerate(begun)
        if earlier.finish.reason == "interrupted" or (max_tokens and earlier.finish.is_cut)
    }
    done = _finished(Loop(model, list(rows.values()), call.batch_size), progress)
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


def _loop(
    model: Model,
    prompts: Sequence[Any],
    requests: Sequence[Any],
    options: Sequence[Options],
    seeds: Sequence[Any],
    n: int | None,
) -> Loop:
    rows = rows_of(model, prompts, requests, options, seeds, n)
    return Loop(model, rows, options[0].batch_size)


def _pieces(loop: Loop, raises: bool = False) -> Iterator[Piece]:
    while not loop.is_done:
        pieces = loop.step()
        if raises and loop.rows[0].error:
            raise loop.rows[0].error
        yield from pieces


def _finished(loop: Loop, progress: bool | None) -> list[Generation]:
    with Progress("tokens", progress) as bar, interruptible() as is_interrupted:
        while not (loop.is_done or is_interrupted()):
            loop.step()
            bar.update(loop.drawn, loop.expected)
    return [row.generation() for row in loop.rows]
