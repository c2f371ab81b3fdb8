"""How answers to a chat completion request are worded: whole, and chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from logitlab.constraints import CallPiece, Tools, call_id
from logitlab.generation.options import Options
from logitlab.generation.result import Generation, Piece
from logitlab.generation.row import Row, rows_of
from logitlab.wire.reports import Reports
from logitlab.wire.task import Task

__all__ = ["ChatStream", "chat_body", "chat_rows"]


def chat_rows(task: Task) -> list[Row]:
    """Return the answers to a request before their first token, to be written in a `Loop`."""
    options = Options(engine=task.resolved.engine, logprobs_mode=task.logprobs_mode)
    return rows_of(task.model, [task.prompt], [task.resolved], [options], [None], task.count)


def chat_body(task: Task, answers: Sequence[Generation]) -> dict[str, Any]:
    """Return the body of the response to a request, of its finished answers."""
    choices = [_choice(i, answer, task) for i, answer in enumerate(answers)]
    head = task.head(answers[0].seed, "chat.completion")
    return {**head, "choices": choices, **task.usage(answers), **task.summary(answers)}


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


class ChatStream:
    """The chunks of all answers to a request.

    Parameters
    ----------
    task : Task
    seed : int
        Of the answers.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._head = task.head(seed, "chat.completion.chunk")
        self._streams = [_Stream(task, self._head, seed, index) for index in range(task.count)]
        self._answers: list[Generation] = []

    def opening(self) -> Iterator[dict[str, Any]]:
        """Yield the chunks before anything is written."""
        for answer in self._streams:
            yield answer.opening()

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what a piece of an answer brings, and with the last one the end of all."""
        mine, task = self._streams[piece.index], self._task
        yield from mine.chunks(piece)
        if piece.generation is None:
            return
        self._answers.append(piece.generation)
        is_last = len(self._answers) == task.count
        yield mine.ending(piece.generation) | (task.end(self._answers) if is_last else {})
        if is_last and task.usage_at_end:
            summary = {**task.usage(self._answers), **task.summary(self._answers)}
            yield {**self._head, "choices": [], **summary}
