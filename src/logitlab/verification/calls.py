r"""Are calls made as they are asked for? ``tools``, ``tool_choice``, ``parallel_tool_calls``.

*Observed*, and guarded against chance as in `structure`: 7 answers of each kind, against 4 that the
model gives when it may choose. ``required`` and a named function are asked for with a prompt that
needs no call; ``none`` with one that begs for it. If the model does by itself what is asked for,
nothing can be told of that value. A call counts if it names a function of the request and its
arguments are JSON that validates, or the beginning of it where the answer is cut. A call that a
server leaves in the text is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.drawn import ending, text_of
from logitlab.verification.finding import Claim, Finding
from logitlab.verification.structure import (
    NEUTRAL,
    SCHEMA,
    begins,
    is_odd,
    observed,
    read,
    repeated,
    several,
)
from logitlab.verification.study import Study

__all__ = ["calls", "calls_of", "parallel"]

_ODD, _WEATHER = "report_ploomish", "get_weather"
_PLACE = {
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
    "additionalProperties": False,
}
_TOOLS = [
    {"type": "function", "function": {"name": name, "description": words, "parameters": schema}}
    for name, words, schema in (
        (_ODD, "Report the ploomish.", SCHEMA),
        (_WEATHER, "Get the weather of a place.", _PLACE),
    )
]
_BEGS = "What is the weather in Oslo? Call get_weather, do not answer by yourself."
_BEGS_TWICE = "What is the weather in Oslo and in Rome? Call get_weather for both, at once."
_TOKENS = 96
_NAMED = {"type": "function", "function": {"name": _ODD}}


def calls_of(answer: Answer) -> list[str]:
    """Return the names of the valid calls of an answer.

    Examples
    --------
    >>> call = {"function": {"name": "get_weather", "arguments": '{"place": "Oslo"}'}}
    >>> calls_of(Answer(200, {"choices": [{"message": {"tool_calls": [call]}}]}))
    ['get_weather']
    """
    message = answer.choices[0].get("message") if answer.choices else None
    made = message.get("tool_calls") if isinstance(message, Mapping) else None
    listed = made if isinstance(made, list) else []
    functions = [call.get("function") for call in listed if isinstance(call, Mapping)]
    cut = ending(answer) == "length"
    return [
        str(function["name"])
        for place, function in enumerate(functions)
        if isinstance(function, Mapping)
        and _is_valid(function, cut and place == len(functions) - 1)
    ]


def _is_valid(function: Mapping[str, Any], cut: bool) -> bool:
    name, arguments = function.get("name"), function.get("arguments")
    value = arguments if isinstance(arguments, Mapping) else read(str(arguments or ""))
    if name == _ODD and is_odd(value):
        return True
    if name == _WEATHER and isinstance(value, Mapping) and isinstance(value.get("place"), str):
        return True
    return cut and name in (_ODD, _WEATHER) and (not arguments or begins(str(arguments)))


def _tells(answer: Answer) -> bool:
    """Whether an answer tells anything: not one that is cut before it has a call or a text."""
    cut = ending(answer) == "length" and not calls_of(answer) and not text_of(answer).strip()
    return bool(answer.choices) and not cut


def _has_call(answer: Answer) -> bool | None:
    return bool(calls_of(answer)) if _tells(answer) else None


def _has_odd(answer: Answer) -> bool | None:
    return set(calls_of(answer)) == {_ODD} if _tells(answer) else None


def _has_none(answer: Answer) -> bool | None:
    return not calls_of(answer) if _tells(answer) else None


def _is_single(answer: Answer) -> bool | None:
    return len(calls_of(answer)) < 2 if _tells(answer) else None


def calls(study: Study) -> None:
    """See whether ``tools`` and each ``tool_choice`` are honoured, in 11 to 18 requests."""
    before = study.requests, study.tokens
    free: list[Answer] = []
    begged: list[Answer] = []
    got: dict[str, list[Answer]] = {"required": [], "named": [], "none": []}
    refused: dict[str, str] = {}
    asked: dict[str, Any] = {"required": "required", "named": _NAMED}

    has: dict[str, Callable[[Answer], bool | None]] = {
        "auto": _has_call, "required": _has_call, "named": _has_odd, "none": _has_none
    }  # fmt: skip

    def ask(name: str, answers: list[Answer], choice: Any, **more: Any) -> None:
        tools = {"tools": _TOOLS, "tool_choice": choice}
        words = repeated(study, answers, has[name], tools, tokens=_TOKENS, **more)
        if words is not None:
            refused[name] = words

    try:
        ask("auto", free, "auto", times=NEUTRAL)
        for name, choice in asked.items():
            ask(name, got[name], choice)
        if "auto" not in refused:
            ask("auto", begged, "auto", times=NEUTRAL, prompt=_BEGS)
        if begged and all(map(_has_call, begged)):
            ask("none", got["none"], "none", prompt=_BEGS)
    finally:
        judged = {
            name: observed(got[name], begged if name == "none" else free, has[name])
            for name in got
            if name != "none" or "auto" not in refused
        }
        auto = [each for each in map(_has_call, begged) if each is not None]
        seen = f"{sum(auto)} of {len(auto)} where the prompt asks for a call"
        judged["auto"] = "honoured" if auto and all(auto) else "cannot_tell", seen
        spent = study.requests - before[0], study.tokens - before[1]
        study.findings["tool_choice"] = several(judged, refused, spent)
        study.findings["tools"] = _tools([*free, *begged, *got["required"], *got["named"]], refused)


def _tools(answers: list[Answer], refused: Mapping[str, str]) -> Finding:
    """Return what became of the tools themselves. Their requests are those of ``tool_choice``."""
    made = sum(bool(calls_of(answer)) for answer in answers)
    detail = f"{made} of {len(answers)} answers have valid calls."
    finding = Finding("cannot_tell", "observed", detail=detail)
    if made:
        return replace(finding, verdict="honoured")
    if not answers and refused:
        words = next(iter(refused.values()))
        return replace(finding, verdict="refused", says=words, detail="")
    return replace(
        finding, verdict="cannot_tell", detail=f"{detail} The model may not know how to call."
    )


def parallel(study: Study) -> None:
    """See whether ``parallel_tool_calls`` false leaves one call, where the model makes several."""
    if study.verdict("tools") != "honoured":
        return
    before = study.requests, study.tokens
    key = "parallel_tool_calls"
    many: list[Answer] = []
    one: list[Answer] = []
    words = None
    asked: dict[str, Any] = {"tools": _TOOLS, "tool_choice": "required"}
    ask = partial(repeated, study, has=_is_single, prompt=_BEGS_TWICE, tokens=_TOKENS)
    try:
        words = ask(got=many, times=NEUTRAL, asked=asked | {key: True})
        if words is None and all(len(calls_of(answer)) > 1 for answer in many):
            words = ask(got=one, asked=asked | {key: False})
    finally:
        verdict, seen = observed(one, many, _is_single)
        spent = study.requests - before[0], study.tokens - before[1]
        study.findings[key] = Finding(
            "refused" if words is not None else verdict, "observed", 0.0,
            (Claim(False, "refused" if words is not None else verdict),), requests=spent[0],
            tokens=spent[1], detail=f"Answers with a single call: {seen}.", says=words,
        )  # fmt: skip
