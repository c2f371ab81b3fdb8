"""Requests and responses as OpenRouter's users know them: JSON in, JSON out, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from logitlab.checks import ParameterError
from logitlab.draw import resolve_seed
from logitlab.engines.registry import EngineLike
from logitlab.generation.generate import generate, stream
from logitlab.generation.result import Piece
from logitlab.models.model import Model
from logitlab.wire.errors import DONE, error_body, event
from logitlab.wire.task import Task, checked_engine
from logitlab.wire.words import ChatStream, chat_body

__all__ = ["chat", "chat_stream", "events"]


def chat(
    model: Model,
    request: Mapping[str, Any],
    *,
    engine: EngineLike = "openrouter",
    logprobs_mode: str = "engine",
) -> dict[str, Any]:
    """Answer a chat completion request.

    Parameters
    ----------
    model : Model
        Whoever answers.
    request : mapping
        The request body: ``messages`` (or ``prompt``), any of the parameters, ``n``, and
        ``max_completion_tokens`` as another name of ``max_tokens``. ``model`` is echoed.
    engine : str or Engine
        Whose chain the request means; keys of its own are read, too.
    logprobs_mode : {"engine", "raw", "processed"}
        As of `generate`: what ``logprobs`` are of, where that is not what the engine reports.

    Returns
    -------
    dict
        A "chat.completion" body, with a ``finish_reason`` in the engine's word, see `Dialect`; its
        key ``logitlab`` tells the seed, why each answer ended, and which keys of the request were
        not read. A choice whose text has a constraint tells there whether it is complete: a stop
        string or ``max_tokens`` may cut JSON and calls. For a request that is wrong,
        ``{"error": …}``.

    Raises
    ------
    ParameterError
        For what is wrong beside the request: no model, or no such engine.

    References
    ----------
    OpenRouter, "Chat completion", https://openrouter.ai/docs/api-reference/chat-completion

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> request = {"messages": [{"role": "user", "content": "Tell a tale"}], "seed": 7}
    >>> body = chat(model, {**request, "max_tokens": 6})
    >>> body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]
    ('length', 6)
    >>> chat(model, {**request, "top_p": 2})["error"]["message"]
    'top_p must be in [0, 1], got 2.0.'
    """
    whose = checked_engine(model, engine, logprobs_mode)
    try:
        task = Task(model, request, whose, logprobs_mode)
        options: dict[str, Any] = {"engine": task.resolved.engine, "progress": False}
        options |= {"logprobs_mode": logprobs_mode}
        answers = generate(model, task.prompt, task.resolved, n=task.count, **options)
    except ParameterError as error:
        return error_body(error)
    return chat_body(task, answers)


def chat_stream(
    model: Model,
    request: Mapping[str, Any],
    *,
    engine: EngineLike = "openrouter",
    logprobs_mode: str = "engine",
) -> Iterator[dict[str, Any]]:
    """Answer a chat completion request by and by.

    Parameters
    ----------
    model, request, engine, logprobs_mode
        As of `chat`.

    Returns
    -------
    iterator of dict
        Bodies of "chat.completion.chunk": for each answer its role, pieces of its text, and why it
        ended. Where the usage comes is the engine's affair, see `Dialect`; the last chunk has the
        key ``logitlab`` in any case. A stream that may consist of calls opens with null content.
        A request that is wrong raises before the first.

    Raises
    ------
    ParameterError
        For whatever is wrong, with the request too; `error_body` makes it a response.

    Examples
    --------
    >>> from logitlab import models
    >>> request = {"messages": [{"role": "user", "content": "Tell a tale"}], "seed": 7}
    >>> chunks = list(chat_stream(models.NGram.bundled(), {**request, "max_tokens": 6}))
    >>> chunks[0]["choices"][0]["delta"], chunks[-1]["usage"]["completion_tokens"]
    ({'role': 'assistant', 'content': ''}, 6)
    """
    whose = checked_engine(model, engine, logprobs_mode)
    task = Task(model, request, whose, logprobs_mode, streams=True)
    seed = resolve_seed(task.resolved.seed)
    options: dict[str, Any] = {"engine": task.resolved.engine, "logprobs_mode": logprobs_mode}
    pieces = stream(model, task.prompt, task.resolved, n=task.count, seed=seed, **options)
    return _chunks(task, pieces, seed)


def events(chunks: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield chunks as server-sent events, and at last that it is done.

    What goes wrong on the way, such as logits that are NaN, is an event of its own.
    """
    try:
        for chunk in chunks:
            yield event(chunk)
    except ParameterError as error:
        yield event(error_body(error))
    yield DONE


def _chunks(task: Task, pieces: Iterator[Piece], seed: int) -> Iterator[dict[str, Any]]:
    chunks = ChatStream(task, seed)
    yield from chunks.opening()
    for piece in pieces:
        yield from chunks.add(piece)
