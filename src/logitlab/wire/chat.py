"""Requests and responses as OpenRouter's users know them: JSON in, JSON out, no network."""

from __future__ import annotations

import codecs
import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError, Range, check_flag, check_integer
from logitlab.constraints import CallPiece, Tools, call_id, constraint_of_values
from logitlab.draw import resolve_seed
from logitlab.engines.engine import Engine, EngineLike, get
from logitlab.generation.generate import generate, stream
from logitlab.generation.options import Options
from logitlab.generation.preparation import resolve_for, unspelled
from logitlab.generation.result import Finish, Generation, Piece
from logitlab.models.model import Model, check_messages
from logitlab.request.keys import check_key
from logitlab.request.params import PARAMETERS
from logitlab.sampling.reports import Logprobs

__all__ = ["chat", "chat_stream", "error_body", "events"]

_NO_LOGPROB = -9999.0  # JSON has no -inf: OpenAI's documented placeholder
_ANSWERS = Range(1, 128, integer=True)
_LIMIT = Range(1, integer=True)
# Keys that say what is asked, beside the parameters, which say how it is sampled.
_KEYS = ("messages", "prompt", "model", "n", "stream", "stream_options", "max_completion_tokens")


def chat(
    request: Mapping[str, Any], model: Model, *, engine: EngineLike = "openrouter"
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

    Returns
    -------
    dict
        A "chat.completion" body; its key ``logitlab`` tells the seed, why each answer ended, and
        which keys of the request were not read. For a request that is wrong, ``{"error": …}``.

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
        task = _Task(request, model, get(engine))
        options: dict[str, Any] = {"engine": task.resolved.engine, "progress": False}
        answers = generate(model, task.prompt, task.resolved, n=task.count, **options)
    except ParameterError as error:
        return error_body(error)
    choices = [_choice(i, answer, task) for i, answer in enumerate(answers)]
    head = task.head(answers[0].seed, "chat.completion")
    return {**head, "choices": choices, **task.summary(answers)}


def chat_stream(
    request: Mapping[str, Any], model: Model, *, engine: EngineLike = "openrouter"
) -> Iterator[dict[str, Any]]:
    """Answer a chat completion request by and by.

    Parameters
    ----------
    request, model, engine
        As of `chat`.

    Returns
    -------
    iterator of dict
        Bodies of "chat.completion.chunk": for each answer its role, pieces of its text, and why it
        ended; at last the usage. A request that is wrong raises before the first.

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
    task = _Task(request, model, get(engine))
    seed = resolve_seed(task.resolved.seed)
    whose = task.resolved.engine
    pieces = stream(model, task.prompt, task.resolved, n=task.count, seed=seed, engine=whose)
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


def _check_type(name: str, value: Any, kind: Any, rule: str) -> Any:
    """Return a value of some type, or raise `ParameterError`."""
    if not isinstance(value, kind):
        raise ParameterError(name, rule, value)
    return value


class _Task:
    """A request body, read and checked."""

    def __init__(self, request: Mapping[str, Any], model: Model, engine: Engine) -> None:
        _check_type("request", request, Mapping, "a map, the body of a request")
        body = {key: value for key, value in request.items() if value is not None}
        for key, value in body.items():
            check_key(key, value)
        self.request = body
        self.model = _check_type("model", model, Model, "a Model to answer")
        keys = {*PARAMETERS, *engine.own_keys}
        parameters = {key: value for key, value in body.items() if key in keys}
        if "max_completion_tokens" in body:
            limit = check_integer("max_completion_tokens", body["max_completion_tokens"], _LIMIT)
            if parameters.setdefault("max_tokens", limit) != limit:
                rule = "equal to max_tokens where both are given"
                raise ParameterError("max_completion_tokens", rule, limit)
        self.resolved = resolve_for(model, parameters, Options(engine=engine))
        self.constraint = constraint_of_values(self.resolved.given)
        self.count = check_integer("n", body.get("n", 1), _ANSWERS)
        check_flag("stream", body.get("stream", False))
        self.name = _check_type("model", body.get("model", model.name), str, "the name of a model")
        options = _check_type("stream_options", body.get("stream_options", {}), Mapping, "a map")
        self.tells_usage = options.get("include_usage") is not False
        is_text = "prompt" in body and "messages" not in body
        ignored = body.keys() - keys - {key for key in _KEYS if is_text or key != "prompt"}
        self.ignored = sorted(map(str, ignored))
        if is_text:
            self.prompt: Any = _check_type("prompt", body["prompt"], str, "a text")
        else:
            self.prompt = check_messages(body.get("messages"))

    def head(self, seed: int, kind: str) -> dict[str, Any]:
        """Return what a body and all chunks of a stream begin with."""
        import hashlib  # a tenth of the time of importing logitlab

        identity = repr([sorted(self.request.items(), key=repr), seed, self.model.name])
        digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
        return {
            "id": f"gen-{digest[:24]}",
            "object": kind,
            "created": int(time.time()),
            "model": self.name,
            "system_fingerprint": f"logitlab-{self.model.name}",
        }

    def summary(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """Return what a body ends with: usage, and what logitlab knows beyond the wire."""
        prompt = answers[0].usage.prompt_tokens
        completion = sum(answer.usage.completion_tokens for answer in answers)
        return {
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
            "logitlab": {
                "seed": answers[0].seed,
                "finish": [answer.finish.sentence for answer in answers],
                "ignored": self.ignored,
                "notes": [note.sentence for note in answers[0].notes],
            },
        }


class _Reports:
    """What is reported of each token, until its text can be seen."""

    def __init__(self, task: _Task) -> None:
        self._vocabulary = task.model.vocabulary
        self._unspelled = unspelled(task.constraint, self._vocabulary)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0
        self._entries: deque[tuple[int, dict[str, Any]]] = deque()

    def add(self, token: int, logprobs: Logprobs) -> None:
        """Take a token and its log-probabilities."""
        tops = zip(logprobs.top_tokens.tolist(), logprobs.top_logprobs.tolist(), strict=True)
        entry = self._entry(token, float(logprobs.logprobs))
        entry["top_logprobs"] = [self._entry(other, value) for other, value in tops]
        self._entries.append((self._characters, entry))
        if token not in self._unspelled:
            self._characters += len(self._decoder.decode(self._vocabulary[token]))

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        data = self._vocabulary[token]
        return {
            "token": data.decode("utf-8", "replace"),
            "logprob": logprob if logprob > -math.inf else _NO_LOGPROB,
            "bytes": list(data),
        }

    def take(self, characters: int) -> list[dict[str, Any]]:
        """Return what is reported of the tokens that begin within so many characters."""
        count = sum(start < characters for start, _ in self._entries)
        return [self._entries.popleft()[1] for _ in range(count)]


def _choice(index: int, answer: Generation, task: _Task) -> dict[str, Any]:
    logprobs = None
    if answer.logprobs is not None:
        reports = _Reports(task)
        for place, token in enumerate(answer.tokens.tolist()):
            reports.add(token, answer.logprobs.at(place))
        logprobs = {"content": reports.take(len(answer.text)), "refusal": None}
    message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [
            _call_entry(answer.seed, answer.sequence, i, call.name, call.arguments)
            for i, call in enumerate(answer.tool_calls)
        ]
    return {
        "index": index,
        "finish_reason": answer.finish_reason,
        "native_finish_reason": answer.finish.cause,
        "message": message,
        "logprobs": logprobs,
    }


def _call_entry(seed: int, sequence: int, index: int, name: str, arguments: str) -> dict[str, Any]:
    """Return a call, whole or as far as it is known."""
    function = {"name": name, "arguments": arguments}
    return {"id": call_id(seed, sequence, index), "type": "function", "function": function}


class _Stream:
    """The chunks of one answer."""

    def __init__(self, task: _Task, head: Mapping[str, Any], seed: int, index: int) -> None:
        self._head, self._index, self._seed = head, index, seed
        self._reports = _Reports(task)
        self._characters = 0
        constraint = task.constraint
        self._parser = constraint.parser() if isinstance(constraint, Tools) else None

    def chunk(self, delta: dict[str, Any], finish: Finish | None = None) -> dict[str, Any]:
        """Return a chunk, with what is to be reported of its tokens."""
        entries = self._reports.take(self._characters)
        choice = {
            "index": self._index,
            "delta": delta,
            "finish_reason": finish and finish.reason,
            "native_finish_reason": finish and finish.cause,
            "logprobs": {"content": entries, "refusal": None} if entries else None,
        }
        return {**self._head, "choices": [choice]}

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what a piece brings: text, calls, and at last why the answer ended."""
        if piece.logprobs is not None:
            self._reports.add(piece.token, piece.logprobs)
        self._characters += len(piece.text)
        parts: Sequence[str | CallPiece] = [piece.text] if piece.text else []
        if self._parser is not None:
            parts = self._parser.add(piece.text, final=piece.generation is not None)
        for part in parts:
            yield self.chunk({"content": part} if isinstance(part, str) else self._call(part))
        if piece.generation is not None:
            yield self.chunk({}, piece.generation.finish)

    def _call(self, part: CallPiece) -> dict[str, Any]:
        call: dict[str, Any] = {"function": {"arguments": part.arguments}}
        if part.name is not None:
            call = _call_entry(self._seed, self._index, part.index, part.name, part.arguments)
        return {"tool_calls": [{"index": part.index, **call}]}


def _chunks(task: _Task, pieces: Iterator[Piece], seed: int) -> Iterator[dict[str, Any]]:
    head = task.head(seed, "chat.completion.chunk")
    streams = [_Stream(task, head, seed, index) for index in range(task.count)]
    for answer in streams:
        yield answer.chunk({"role": "assistant", "content": ""})
    answers: list[Generation] = []
    for piece in pieces:
        yield from streams[piece.index].chunks(piece)
        if piece.generation is not None:
            answers.append(piece.generation)
    answers.sort(key=lambda answer: answer.sequence)
    if task.tells_usage:
        yield {**head, "choices": [], **task.summary(answers)}
