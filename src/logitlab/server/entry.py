"""A request is read, outside of the event loop: JSON, parameters, tokens, schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from logitlab.checks import ParameterError, Seen
from logitlab.generation.result import Generation, Piece
from logitlab.generation.row import Row
from logitlab.models.model import Model
from logitlab.server.about import check_name
from logitlab.server.job import Words
from logitlab.server.journal import Entry
from logitlab.server.messages import body_map
from logitlab.server.script import Script
from logitlab.server.settings import Settings
from logitlab.wire.completions import CompletionStream, CompletionTask
from logitlab.wire.errors import DONE, event
from logitlab.wire.responses import ResponseStream, ResponseTask, response_body, response_event
from logitlab.wire.task import Task
from logitlab.wire.words import ChatStream, chat_body, chat_rows

__all__ = ["Asked", "read"]

_MOST_KEYS = 256
_MOST_ENTRIES = 1024
# What may be as long as a text or a vocabulary, or has bounds of its own.
_LONG = frozenset(
    {
        "messages", "prompt", "input", "tools", "response_format", "logit_bias",
        "allowed_token_ids", "suppress_tokens", "stop_token_ids",
    }
)  # fmt: skip


class Asked(NamedTuple):
    """A request that was read; ``opening`` are the events before anything is written."""

    words: Words
    rows: list[Row]
    streams: bool
    opening: str


class _Chunks(Protocol):
    def opening(self) -> Iterator[dict[str, Any]]: ...
    def add(self, piece: Piece) -> Iterator[dict[str, Any]]: ...


class _Worded:
    """Chunks, each an event, and a last one that it is done."""

    def __init__(self, chunks: _Chunks, rows: Sequence[Row]) -> None:
        self._chunks, self._left = chunks, len(rows)

    def opening(self) -> Iterator[str]:
        yield from map(event, self._chunks.opening())
        if not self._left:
            yield DONE

    def add(self, piece: Piece) -> Iterator[str]:
        yield from map(event, self._chunks.add(piece))
        self._left -= piece.generation is not None
        if not self._left:
            yield DONE

    def broken(self, body: dict[str, Any]) -> Iterator[str]:
        yield event(body)
        yield DONE


class _Chat(_Worded):
    def __init__(self, task: Task, rows: Sequence[Row]) -> None:
        super().__init__(ChatStream(task, rows[0].seed), rows)
        self._task = task

    def body(self, answers: Sequence[Generation]) -> dict[str, Any]:
        return chat_body(self._task, answers)


class _Completion(_Worded):
    def __init__(self, task: CompletionTask, rows: Sequence[Row]) -> None:
        super().__init__(CompletionStream(task, rows[-1].seed if rows else 0), rows)
        self._task = task

    def body(self, answers: Sequence[Generation]) -> dict[str, Any]:
        return self._task.body(answers)


class _Response:
    def __init__(self, task: ResponseTask, rows: Sequence[Row]) -> None:
        self._task, self._stream = task, ResponseStream(task, rows[0].seed)

    def opening(self) -> Iterator[str]:
        yield from map(response_event, self._stream.opening())

    def add(self, piece: Piece) -> Iterator[str]:
        yield from map(response_event, self._stream.add(piece))

    def broken(self, body: dict[str, Any]) -> Iterator[str]:
        yield from map(response_event, self._stream.broken(body))

    def body(self, answers: Sequence[Generation]) -> dict[str, Any]:
        return response_body(self._task, answers[0])


def read(
    kind: str, raw: bytes, model: Model, settings: Settings, script: Script, entry: Entry
) -> Asked:
    """Return what a request asks for, ready to be written.

    Parameters
    ----------
    kind : {"chat", "completions", "responses"}
    raw : bytes
        Its body.
    model : Model
    settings : Settings
    script : Script
    entry : Entry
        Which is told of what is seen here.

    Raises
    ------
    ParameterError
        For whatever is wrong with it.
    RefusalError
        Where the script says so, or another model is asked for.
    """
    request = body_map(raw)
    entry.keep(request, len(raw))
    _check_lengths(request)
    check_name(request, model, settings)
    streams = request.get("stream") is True
    how = settings.usual_engine, settings.logprobs_mode
    if kind == "chat":
        task = Task(model, request, *how, streams=streams)
        said = _said(task.prompt)
    elif kind == "completions":
        task = CompletionTask(model, request, *how, streams=streams)
        said = task.texts[0]
        _check_count(len(task.prompts) * task.count, settings, "prompt")
    else:
        task = ResponseTask(model, request, *how, streams=streams)
        said = _said(task.prompt)
    _check_count(task.count, settings, "n")
    rule = script.rule(said)
    if rule is not None:
        entry.rule = rule.number
    rows = task.rows() if isinstance(task, CompletionTask) else chat_rows(task)
    if rule is not None:
        script.apply(rule, task, [row for row in rows if row.forced is None])
    words: Words
    if isinstance(task, CompletionTask):
        words = _Completion(task, rows)
    elif isinstance(task, ResponseTask):
        words = _Response(task, rows)
    else:
        words = _Chat(task, rows)
    # Now, since another thread has them as soon as anything is written.
    return Asked(words, rows, streams, "".join(words.opening()) if streams else "")


def _check_lengths(request: Mapping[str, Any]) -> None:
    """Raise for what would hold up everybody: much that is looked at again for each token."""
    if len(request) > _MOST_KEYS:
        rule, seen = f"a map of at most {_MOST_KEYS} keys", Seen(f"{len(request)} of them")
        raise ParameterError("request", rule, seen)
    for key, value in request.items():
        if key not in _LONG and isinstance(value, list | dict) and len(value) > _MOST_ENTRIES:
            rule, seen = f"of at most {_MOST_ENTRIES} entries", Seen(f"{len(value)} of them")
            raise ParameterError(key, rule, seen)


def _check_count(count: int, settings: Settings, name: str) -> None:
    if count > settings.max_answers:
        rule = f"so many that there are at most {settings.max_answers} answers to one request"
        raise ParameterError(name, rule, count)


def _said(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    """Return what the user said last."""
    if isinstance(prompt, str):
        return prompt
    said = [message["content"] for message in prompt if message["role"] == "user"]
    return str(said[-1]) if said else ""
