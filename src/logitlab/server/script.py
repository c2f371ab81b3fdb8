"""Answers that are known before: rules for the tests of an application."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Range, Seen, check_integer, suggestion
from logitlab.constraints import Tools, marker_ids
from logitlab.constraints.calls import CLOSE, OPEN
from logitlab.generation.row import Row
from logitlab.generation.written import written
from logitlab.models.model import Model
from logitlab.server.messages import RefusalError
from logitlab.wire.task import Task

__all__ = ["Rule", "Script"]

_KEYS = ("match", "text", "tool_calls", "status")
_ANSWERS = _KEYS[1:]
_STATUS = Range(400, 599, integer=True)


class Rule(NamedTuple):
    """One rule: for which requests it is, and one of three answers."""

    number: int
    match: re.Pattern[str]
    text: str | None
    calls: tuple[tuple[str, Any], ...] | None
    status: int | None

    @property
    def name(self) -> str:
        """What messages about the rule call it."""
        return f"script[{self.number}]"


class Script:
    """Rules of which the first that matches a request answers it; without one the model writes.

    Parameters
    ----------
    rules : sequence of mapping
        Each with ``match``, a regular expression that is searched in the last message of the user,
        or in the prompt of a completion; absent it matches everything. Beside it one of:

        ``text``
            What is answered. The model reads it as if it had drawn it: log-probabilities are true.
        ``tool_calls``
            A list of maps with ``name`` and ``arguments``, a map or a JSON text. The request has to
            have tools that allow them.
        ``status``
            The status of an error, 400 to 599.
    model : Model
        Whose tokenizer has to spell the texts.

    Raises
    ------
    ParameterError
        For what is no rule.

    Examples
    --------
    >>> from logitlab import models
    >>> script = Script([{"match": "capital", "text": "Paris."}], models.NGram.bundled())
    >>> script.rule("What is the capital of France?").text, script.rule("Hello")
    ('Paris.', None)
    """

    def __init__(self, rules: Sequence[Mapping[str, Any]], model: Model) -> None:
        if not isinstance(rules, Sequence) or isinstance(rules, str | bytes):
            raise ParameterError("script", "a list of rules", rules)
        self._model = model
        self.rules = [_rule(index, rule) for index, rule in enumerate(rules)]
        for rule in self.rules:
            if rule.text is not None:
                self._spelled(rule, rule.text, np.array([0], np.int64))

    def rule(self, said: str) -> Rule | None:
        """Return the rule for what was said, if there is one."""
        return next((rule for rule in self.rules if rule.match.search(said)), None)

    def apply(self, rule: Rule, task: Task, rows: Sequence[Row]) -> None:
        """Let the answers to a request be those of a rule.

        Raises
        ------
        RefusalError
            Of a rule that is an error.
        ParameterError
            If what the rule answers is not what the request asks for.
        """
        if rule.status is not None:
            seen = Seen(f"{rule.name}, which is status {rule.status}")
            error = ParameterError("the request", "one that no error is scripted for", seen)
            raise RefusalError(rule.status, error)
        key, text = "text", rule.text
        if rule.calls is not None:
            key, text = "tool_calls", _spelled_calls(rule.calls)
            if not isinstance(task.constraint, Tools):
                raise ParameterError("tools", f"given where {rule.name} answers with calls", None)
        assert text is not None
        if task.constraint is not None and not task.constraint.allows(text):
            rule_ = "what the request's tools or response_format allow"
            raise ParameterError(f"{rule.name}.{key}", rule_, text)
        for row in rows:
            row.force(self._spelled(rule, text, row.prompt, isinstance(task.constraint, Tools)))

    def _spelled(
        self, rule: Rule, text: str, prompt: IntArray, has_calls: bool = False
    ) -> IntArray:
        """Return the tokens of a text, with the model's end token, if it has one."""
        model = self._model
        ends = sorted(model.end_ids) if len(model.end_ids) == 1 else []
        try:
            ids = _tokens(model, text, prompt, has_calls)
        except ParameterError as error:
            raise ParameterError(f"{rule.name}.text", error.rule, error.value) from None
        if b"".join(model.vocabulary[token] for token in ids) != text.encode():
            known = f"a text that the tokenizer of {model.name} can spell"
            raise ParameterError(f"{rule.name}.text", known, text)
        if not (ids or ends):
            known = f"not empty, since {model.name} has no single token that ends a text"
            raise ParameterError(f"{rule.name}.text", known, text)
        return np.array([*ids, *ends], np.int64)


def _tokens(model: Model, text: str, prompt: IntArray, has_calls: bool) -> list[int]:
    """Return the tokens of a text; a special one for each marker of a call, where there is one."""
    marks = {model.vocabulary[token]: token for token in marker_ids(model.vocabulary)}
    pattern = f"({re.escape(OPEN)}|{re.escape(CLOSE)})" if has_calls and marks else "($^)"
    ids: list[int] = []
    for part in re.split(pattern, text):
        if not part:
            continue
        mark = marks.get(part.encode("utf-8", "replace"))
        if mark is not None:
            ids.append(mark)
        else:
            ids += written(model, part, prompt, (), False).tokens.tolist()
    return ids


def _spelled_calls(calls: Sequence[tuple[str, Any]]) -> str:
    texts = (
        f'{OPEN}\n{{"name": "{name}", "arguments": {arguments}}}\n{CLOSE}'
        for name, arguments in calls
    )
    return "\n".join(texts)


def _rule(index: int, rule: Any) -> Rule:
    name = f"script[{index}]"
    if not isinstance(rule, Mapping):
        raise ParameterError(name, "a map with match and text, tool_calls or status", rule)
    for key in rule:
        if key not in _KEYS:
            hint = suggestion(key, _KEYS) if isinstance(key, str) else ""
            raise ParameterError(name, f"of the keys {', '.join(_KEYS)}", Seen(repr(key)), hint)
    given = [key for key in _ANSWERS if rule.get(key) is not None]
    if len(given) != 1:
        seen = Seen(" and ".join(given) or "none")
        raise ParameterError(name, "with one of text, tool_calls and status", seen)
    match, text, status = rule.get("match", ""), rule.get("text"), rule.get("status")
    try:
        pattern = re.compile(match)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        hint = f"{error}.".capitalize()
        raise ParameterError(f"{name}.match", "a regular expression", match, hint) from None
    if not isinstance(pattern.pattern, str):
        raise ParameterError(f"{name}.match", "a regular expression", match)
    if text is not None and not isinstance(text, str):
        raise ParameterError(f"{name}.text", "a text", text)
    if status is not None:
        status = check_integer(f"{name}.status", status, _STATUS)
    calls = rule.get("tool_calls")
    return Rule(index, pattern, text, None if calls is None else _calls(name, calls), status)


def _calls(name: str, calls: Any) -> tuple[tuple[str, str], ...]:
    here = f"{name}.tool_calls"
    if not isinstance(calls, Sequence) or isinstance(calls, str | bytes) or not calls:
        raise ParameterError(here, "a list of calls, not empty", calls)
    made: list[tuple[str, str]] = []
    for i, call in enumerate(calls):
        function = call.get("function", call) if isinstance(call, Mapping) else None
        named = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(named, str):
            raise ParameterError(f"{here}[{i}]", "a map with name and arguments", call)
        arguments = function.get("arguments", {})
        try:
            parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, Mapping):
            raise ParameterError(f"{here}[{i}].arguments", "a map, or its JSON text", arguments)
        text = arguments if isinstance(arguments, str) else _compact(parsed)
        made.append((named, text))
    return tuple(made)


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
