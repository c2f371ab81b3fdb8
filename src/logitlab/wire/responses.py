"""The plain text form of OpenAI's responses: ``/v1/responses``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError, check_type
from logitlab.engines.engine import Engine
from logitlab.generation.result import Generation, Piece
from logitlab.wire.task import Task

__all__ = ["ResponseStream", "ResponseTask", "response_body", "response_event"]

_PARTS = ("input_text", "output_text", "text")
_ABSENT = {
    "tools": ([],),
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "background": (False,),
    "messages": (),
    "n": (1,),
    "max_tokens": (),
    "response_format": (),
}
"""What has no plain text form, and the values that are as good as none."""


class ResponseTask(Task):
    """A request for a response, read and checked: of a text, and answered by a text.

    Parameters
    ----------
    model, request, engine, logprobs_mode, streams
        As of `Task`; with ``input``, a text or a list of messages, ``instructions`` and
        ``max_output_tokens``.

    Raises
    ------
    ParameterError
        For whatever is wrong with it, and for what has no plain text form, such as tools.

    References
    ----------
    OpenAI, "Create a model response", https://platform.openai.com/docs/api-reference/responses/create
    """

    def _read(self, request: Mapping[str, Any], engine: Engine) -> None:
        body = {key: value for key, value in request.items() if value is not None}
        for key, neutral in _ABSENT.items():
            if key in body and body[key] not in neutral:
                raise ParameterError(key, "absent: responses have their plain text form", body[key])
            body.pop(key, None)
        body.pop("store", None)
        form = check_type("text", body.pop("text", {}), Mapping, "a map").get("format")
        if form is not None and form != {"type": "text"}:
            raise ParameterError("text.format", '{"type": "text"}', form)
        if body.pop("tool_choice", "none") not in ("none", "auto"):
            raise ParameterError("tool_choice", "none or auto", request["tool_choice"])
        self.instructions = body.pop("instructions", None)
        limit = self.limit = body.pop("max_output_tokens", None)
        body["messages"] = _messages(body.pop("input", None), self.instructions)
        if limit is not None:
            body["max_tokens"] = limit
        self.asked = {key: body.get(key) for key in ("temperature", "top_p", "metadata")}
        body.pop("metadata", None)
        try:
            super()._read(body, engine)
        except ParameterError as error:
            own = {"max_tokens": "max_output_tokens"}
            name = own.get(error.name, error.name.replace("messages", "input"))
            raise type(error)(name, *error.args[1:]) from None


def _messages(asked: Any, instructions: Any) -> list[dict[str, Any]]:
    """Return what the model reads, as messages."""
    rule = "a text, or a list of messages, not empty"
    if instructions is not None:
        check_type("instructions", instructions, str, "a text")
    if not isinstance(asked, str | list) or not asked:
        raise ParameterError("input", rule, asked)
    entries = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    messages = [] if not instructions else [{"role": "system", "content": instructions}]
    for i, entry in enumerate(entries):
        here = f"input[{i}]"
        if not isinstance(entry, Mapping) or entry.get("type", "message") != "message":
            raise ParameterError(here, "a message with role and content", entry)
        content = entry.get("content")
        if isinstance(content, list):
            content = [_part(f"{here}.content[{j}]", part) for j, part in enumerate(content)]
        messages.append({"role": entry.get("role"), "content": content})
    return messages


def _part(name: str, part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping) or part.get("type") not in _PARTS:
        raise ParameterError(name, "a part of type input_text or output_text", part)
    return {"type": "text", "text": part.get("text")}


def response_body(task: ResponseTask, answer: Generation) -> dict[str, Any]:
    """Return the response, of its finished answer."""
    is_cut = answer.finish_reason == "length"
    body = _body(task, answer.seed, "incomplete" if is_cut else "completed")
    body["incomplete_details"] = {"reason": "max_output_tokens"} if is_cut else None
    body["output"] = [_item(body["id"], answer.text, body["status"])]
    usage = answer.usage
    body["usage"] = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
    return {**body, **task.summary([answer])}


def _body(task: ResponseTask, seed: int, status: str) -> dict[str, Any]:
    head = task.head(seed, "response")
    own = {"id": head["id"].replace("gen-", "resp_"), "object": "response"}
    return {
        **own,
        "created_at": head["created"],
        "status": status,
        "model": head["model"],
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": task.instructions,
        "max_output_tokens": task.limit,
        "metadata": task.asked["metadata"] or {},
        "temperature": task.asked["temperature"],
        "top_p": task.asked["top_p"],
        "text": {"format": {"type": "text"}},
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "store": False,
        "usage": None,
    }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(identity: str, text: str | None, status: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": identity.replace("resp_", "msg_"),
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [_text_part(text)],
    }


class ResponseStream:
    """The events of a response, as maps with their ``type``.

    Parameters
    ----------
    task : ResponseTask
    seed : int
        Of the answer.
    """

    def __init__(self, task: ResponseTask, seed: int) -> None:
        self._task = task
        self._begun = _body(task, seed, "in_progress")
        item = _item(self._begun["id"], None, "in_progress")
        self._item = item
        self._place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        self._number = -1

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": f"response.{kind}", "sequence_number": self._number, **fields}

    def opening(self) -> Iterator[dict[str, Any]]:
        """Yield the events before anything is written."""
        yield self._event("created", response=self._begun)
        yield self._event("in_progress", response=self._begun)
        yield self._event("output_item.added", output_index=0, item=self._item)
        yield self._event("content_part.added", **self._place, part=_text_part(""))

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what a piece brings, and with the last one the end."""
        if piece.text:
            yield self._event("output_text.delta", **self._place, delta=piece.text, logprobs=[])
        if piece.generation is None:
            return
        body, text = response_body(self._task, piece.generation), piece.generation.text
        body["created_at"] = self._begun["created_at"]
        yield self._event("output_text.done", **self._place, text=text, logprobs=[])
        yield self._event("content_part.done", **self._place, part=_text_part(text))
        yield self._event("output_item.done", output_index=0, item=body["output"][0])
        yield self._event(body["status"], response=body)

    def broken(self, body: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
        """Return the events of an error on the way."""
        error = {"code": "server_error", "message": body["error"]["message"]}
        failed = {**self._begun, "status": "failed", "error": error}
        return [self._event("failed", response=failed)]


def response_event(body: Mapping[str, Any]) -> str:
    """Return an event as it is sent, by its name."""
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n"
