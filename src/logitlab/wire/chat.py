"""Requests and responses as OpenRouter's users know them: JSON in, JSON out, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError
from logitlab.constraints import CallPiece, Tools, call_id
from logitlab.draw import resolve_seed
from logitlab.engines.registry import EngineLike, get
from logitlab.generation.generate import generate, stream
from logitlab.generation.result import Generation, Piece
from logitlab.models.model import Model
from logitlab.wire.reports import Reports
from logitlab.wire.task import Task

__all__ = ["chat", "chat_stream", "error_body", "events"]


def chat(
    request: Mapping[str, Any],
    model: Model,
    *,
    engine: EngineLike = "openrouter",
    logprobs_mode: str = "engine",
) -> dict[str, Any]:
    """Answer a chat completion request.

    Parameters
    ----------
    request : mapping
        The request body: ``messages`` (or ``prompt``), any of the parameters, ``n``, and
        ``max_completion_tokens`` as another name of ``max_tokens``. ``model`` is echoed.
    model : Model
        Whoever answers.
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

    References
    ----------
    OpenRouter, "Chat completion", https://openrouter.ai/docs/api-reference/chat-completion

    Examples
    --------
    >>> from logitlab import models
    >>> request = {"messages": [{"role": "user", "content": "Tell a tale"}], "seed": 7}
    >>> body = chat({**request, "max_tokens": 6}, models.NGram.bundled())
    >>> body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]
    ('length', 6)
    >>> chat({**request, "top_p": 2}, models.NGram.bundled())["error"]["message"]
    'top_p must be in [0, 1], got 2.0.'
    """
    try:
        task = Task(request, model, get(engine), logprobs_mode)
        options: dict[str, Any] = {"engine": task.resolved.engine, "progress": False}
        options |= {"logprobs_mode": logprobs_mode}
        answers = generate(model, task.prompt, task.resolved, n=task.count, **options)
    except ParameterError as error:
        return error_body(error)
    choices = [_choice(i, answer, task) for i, answer in enumerate(answers)]
    head = task.head(answers[0].seed, "chat.completion")
    return {**head, "choices": choices, **task.usage(answers), **task.summary(answers)}


def chat_stream(
    request: Mapping[str, Any],
    model: Model,
    *,
    engine: EngineLike = "openrouter",
    logprobs_mode: str = "engine",
) -> Iterator[dict[str, Any]]:
    """Answer a chat completion request by and by.

    Parameters
    ----------
    request, model, engine, logprobs_mode
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
        For whatever is wrong with the request; `error_body` makes it a response.

    Examples
    --------
    >>> from logitlab import models
    >>> request = {"messages": [{"role": "user", "content": "Tell a tale"}], "seed": 7}
    >>> chunks = list(chat_stream({**request, "max_tokens": 6}, models.NGram.bundled()))
    >>> chunks[0]["choices"][0]["delta"], chunks[-1]["usage"]["completion_tokens"]
    ({'role': 'assistant', 'content': ''}, 6)
    """
    task = Task(request, model, get(engine), logprobs_mode, streams=True)
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
            yield f"data: {json.dumps(chunk)}\n\n"
    except ParameterError as error:
        yield f"data: {json.dumps(error_body(error))}\n\n"
    yield "data: [DONE]\n\n"


def error_body(error: ParameterError, code: int = 400) -> dict[str, Any]:
    """Return the body of a response to a request that is wrong.

    Examples
    --------
    >>> error_body(ParameterError("top_p", "in [0, 1]", 2))["error"]["metadata"]
    {'parameter': 'top_p'}
    """
    return {"error": {"code": code, "message": str(error), "metadata": {"parameter": error.name}}}


def _choice(index: int, answer: Generation, task: Task) -> dict[str, Any]:
    """Return an answer, whole."""
    logprobs = None
    if answer.logprobs is not None:
        reports = Reports(task.model, task.constraint, task.silent)
        for place, token in enumerate(answer.tokens.tolist()):
            reports.add(token, answer.logprobs.at(place))
        logprobs = {"content": reports.take(len(answer.text)), "refusal": None}
    message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [
            _call_entry(task, answer.seed, answer.sequence, i, call.name, call.arguments)
            for i, call in enumerate(answer.tool_calls)
        ]
    return {"index": index, **_ending(task, answer), "message": message, "logprobs": logprobs}


def _ending(task: Task, answer: Generation | None) -> dict[str, Any]:
    """Return what a choice tells of the end of its answer, if that is known."""
    if answer is None:
        return {"finish_reason": None, "native_finish_reason": None}
    ending: dict[str, Any] = {
        "finish_reason": task.finish_reason(answer),
        "native_finish_reason": answer.finish.cause,
    }
    if task.constraint is not None:
        ending["logitlab"] = {"complete": answer.finish.complete}
    return ending


def _call_entry(
    task: Task, seed: int, sequence: int, index: int, name: str, arguments: str
) -> dict[str, Any]:
    """Return a call, whole or as far as it is known."""
    function = {"name": name, "arguments": arguments}
    identity = call_id(seed, sequence, index, task.conversation)
    return {"id": identity, "type": "function", "function": function}


class _Stream:
    """The chunks of one answer."""

    def __init__(self, task: Task, head: Mapping[str, Any], seed: int, index: int) -> None:
        self._task, self._head, self._index, self._seed = task, head, index, seed
        self._reports = Reports(task.model, task.constraint, task.silent)
        self._characters = 0
        constraint = task.constraint
        self._parser = constraint.parser() if isinstance(constraint, Tools) else None

    def opening(self) -> dict[str, Any]:
        """Return the first chunk: who speaks. Calls alone have no content, not an empty one."""
        constraint = self._task.constraint
        calls = isinstance(constraint, Tools) and constraint.tool_choice != "none"
        return self._chunk({"role": "assistant", "content": None if calls else ""})

    def _chunk(self, delta: dict[str, Any], answer: Generation | None = None) -> dict[str, Any]:
        """Return a chunk, with what is to be reported of its tokens."""
        entries = self._reports.take(self._characters)
        choice = {
            "index": self._index,
            "delta": delta,
            **_ending(self._task, answer),
            "logprobs": {"content": entries, "refusal": None} if entries else None,
        }
        return {**self._head, "choices": [choice]}

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what a piece brings: text and calls."""
        if piece.token is not None and piece.logprobs is not None:
            self._reports.add(piece.token, piece.logprobs)
        self._characters += len(piece.text)
        parts: Sequence[str | CallPiece] = [piece.text] if piece.text else []
        if self._parser is not None:
            parts = self._parser.add(piece.text, final=piece.generation is not None)
        for part in parts:
            yield self._chunk({"content": part} if isinstance(part, str) else self._call(part))

    def ending(self, answer: Generation) -> dict[str, Any]:
        """Return the last chunk: why the answer ended."""
        return self._chunk({}, answer)

    def _call(self, part: CallPiece) -> dict[str, Any]:
        call: dict[str, Any] = {"function": {"arguments": part.arguments}}
        if part.name is not None:
            place = self._seed, self._index, part.index
            call = _call_entry(self._task, *place, part.name, part.arguments)
        return {"tool_calls": [{"index": part.index, **call}]}


def _chunks(task: Task, pieces: Iterator[Piece], seed: int) -> Iterator[dict[str, Any]]:
    head = task.head(seed, "chat.completion.chunk")
    streams = [_Stream(task, head, seed, index) for index in range(task.count)]
    for answer in streams:
        yield answer.opening()
    answers: list[Generation] = []
    for piece in pieces:
        mine = streams[piece.index]
        yield from mine.chunks(piece)
        if piece.generation is not None:
            answers.append(piece.generation)
            is_last = len(answers) == task.count
            yield mine.ending(piece.generation) | (task.end(answers) if is_last else {})
    if task.usage_at_end:
        yield {**head, "choices": [], **task.usage(answers), **task.summary(answers)}
