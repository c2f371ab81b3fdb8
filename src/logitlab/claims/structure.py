"""Claims about the form of an answer: response_format, structured_outputs and tools."""

from __future__ import annotations

import json
from operator import eq
from typing import Any

from logitlab.claims.claim import Family, Measured, Picture
from logitlab.claims.lab import Lab

__all__ = ["CLAIMS"]

CLAIMS = Family()

_SCHEMA = {
    "type": "object",
    "properties": {
        "hero": {"type": "string", "maxLength": 12},
        "wishes": {"type": "integer", "minimum": 1, "maximum": 3},
    },
    "required": ["hero", "wishes"],
    "additionalProperties": False,
}
_OBJECT = {"response_format": {"type": "json_object"}}
_TALE = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "tale", "schema": _SCHEMA}}
}
_COUNT = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["n"],
    "additionalProperties": False,
}
_TOOLS: dict[str, Any] = {
    "tools": [
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "find", "parameters": _COUNT}},
    ]
}
_NOW_ALONE = {"type": "function", "function": {"name": "now"}}
_PARALLEL: tuple[dict[str, Any], ...] = (
    {},
    {"parallel_tool_calls": True},
    {"parallel_tool_calls": False},
)
_NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
_FIND = '<tool_call>\n{"name": "find", "arguments": {"n":7}}\n</tool_call>'
_BOTH = f"{_NOW}\n{_FIND}"
_MESSAGE = "It is late."
_GRETEL = '{"hero":"Gretel","wishes":3}'


def _json_value(text: str) -> Any:
    """Return what a JSON text says; None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _objects(texts: list[str]) -> int:
    """Count the texts that are JSON objects."""
    return sum(isinstance(_json_value(text), dict) for text in texts)


def _whole_texts(lab: Lab, request: dict[str, Any]) -> list[str]:
    """Return those of 8 answers that end by themselves."""
    common = {"temperature": 1.5, "seed": 1, **request}
    return [a.text for a in lab.generate("Once", common, n=8) if a.finish_reason == "stop"]


def _is_tale(value: Any) -> bool:
    """Say whether a value validates against the schema, by its own words."""
    return (
        isinstance(value, dict)
        and value.keys() == {"hero", "wishes"}
        and isinstance(value["hero"], str)
        and len(value["hero"]) <= 12
        and type(value["wishes"]) is int
        and 1 <= value["wishes"] <= 3
    )


def _is_call(call: Any) -> bool:
    """Say whether a call of a response body has the shape, a declared name and valid arguments."""
    if call.get("type") != "function" or not isinstance(call.get("id"), str):
        return False
    name, values = call["function"]["name"], _json_value(call["function"]["arguments"])
    if name == "now":
        return bool(values == {})
    valid = isinstance(values, dict) and values.keys() == {"n"} and type(values["n"]) is int
    return name == "find" and valid and 0 <= values["n"] <= 99


def _spelt(lab: Lab, text: str) -> list[str]:
    return [*map(lab.model.vocabulary.label, lab.model.encode(text)), "end"]


@CLAIMS.about(
    "response_format",
    "json_object",
    "With json_object the message is valid JSON.",
    vague="only what ends by itself: an answer that max_tokens cuts off is the beginning of one",
    extra="structured",
)
def _json_object(lab: Lab) -> Measured:
    texts = _whole_texts(lab, {"max_tokens": 60, **_OBJECT})
    free = lab.generate("Once", {"temperature": 1.5, "seed": 1, "max_tokens": 60}, n=8)
    valid, without = _objects(texts), _objects([answer.text for answer in free])
    return Measured(
        0 < len(texts) == valid and without == 0,
        "Of 8 answers at temperature 1.5, {ended} end within 60 tokens and {valid} of them are "
        "JSON objects; without the format {without} of 8 are.",
        {"ended": len(texts), "valid": valid, "without": without},
    )


@CLAIMS.about(
    "response_format",
    "instruct",
    "The messages should ask for JSON as well.",
    vague="that is for models that are asked and not masked; here it makes no difference",
    extra="structured",
)
def _instruct(lab: Lab) -> Measured:
    counts = []
    for content in ("Tell of the king.", "Tell of the king. Answer in JSON."):
        request = {
            "messages": [{"role": "user", "content": content}],
            "n": 6,
            "seed": 1,
            "max_tokens": 40,
            **_OBJECT,
        }
        choices = lab.chat(request)["choices"]
        texts = [c["message"]["content"] for c in choices if c["finish_reason"] == "stop"]
        counts.append((len(texts), _objects(texts)))
    (plain, valid), (asked, right) = counts
    return Measured(
        0 < plain == valid and 0 < asked == right,
        "Of answers that end, {valid} of {plain} are JSON objects without a word of JSON in the "
        "messages, and {right} of {asked} with it.",
        {"valid": valid, "plain": plain, "right": right, "asked": asked},
    )


@CLAIMS.about(
    "response_format",
    "json_schema",
    "With json_schema the message validates against the schema.",
    extra="structured",
)
def _json_schema(lab: Lab) -> Measured:
    values = list(map(_json_value, _whole_texts(lab, {"max_tokens": 80, **_TALE})))
    valid = sum(map(_is_tale, values))
    beyond = lab.room('{"hero":"Gretel","wishes":4}', _TALE)
    room = {"json_object": lab.room(_GRETEL, _OBJECT), "json_schema": lab.room(_GRETEL, _TALE)}
    return Measured(
        0 < len(values) == valid and bool(room["json_schema"]) and not beyond,
        "{valid} of {ended} answers that end validate. Of an object with all in range and one with "
        "a number out of it, {may} of 2 can be written.",
        {
            "valid": valid,
            "ended": len(values),
            "may": bool(room["json_schema"]) + bool(beyond),
        },
        Picture(
            "Tokens of 4096 that may come at each place",
            "token",
            "tokens",
            _spelt(lab, _GRETEL),
            room,
            "bars",
            log_y=True,
        )
        if all(room.values())
        else None,
    )


@CLAIMS.about(
    "structured_outputs",
    "available",
    "It tells whether the model can return json_schema output.",
    vague="a property of a model as a key of a request; here false refuses a schema",
    extra="structured",
)
def _available(lab: Lab) -> Measured:
    on, off = ({**_TALE, "structured_outputs": value} for value in (True, False))
    absent, true = lab.room(_GRETEL, _TALE), lab.room(_GRETEL, on)
    refusal, wrongly = lab.refusal(off), lab.refusal(on)
    alone = lab.refusal({"structured_outputs": False})
    choices = {
        "no schema": len(lab.model.vocabulary),
        "absent": (absent or [0])[0],
        "true": (true or [0])[0],
        "false": 0,
    }
    return Measured(
        bool(refusal) and not wrongly and not alone and absent == true != [],
        "With a schema, true leaves the same tokens to choose from as without it at {same} of "
        "{places} places; of false with a schema and false alone, {refused} and {alone} are "
        "refused.",
        {
            "same": sum(map(eq, absent, true)),
            "places": len(absent),
            "refused": int(bool(refusal)),
            "alone": int(bool(alone)),
        },
        Picture(
            "Tokens of 4096 that may begin an answer",
            "structured_outputs, beside a json_schema",
            "tokens (none: refused)",
            list(choices),
            {"may come": list(choices.values())},
            "bars",
            log_y=True,
        ),
    )


@CLAIMS.about(
    "tools",
    "shape",
    "Tools are declared in OpenAI's shape, and calls come back in it.",
    vague="how a model writes a call is not said; here in <tool_call> marks, by a mask",
    extra="structured",
)
def _shape(lab: Lab) -> Measured:
    request = {
        "prompt": "The king",
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "n": 6,
        "seed": 5,
        "max_tokens": 70,
        "temperature": 1.5,
        **_TOOLS,
    }
    choices = lab.chat(request).get("choices", [])
    choices = [choice for choice in choices if choice["finish_reason"] != "length"]
    calls = [call for choice in choices for call in choice["message"].get("tool_calls", [])]
    valid = sum(map(_is_call, calls))
    finished = sum(choice["finish_reason"] == "tool_calls" for choice in choices)
    names = {call["function"]["name"] for call in calls}
    room = lab.room(_FIND, {**_TOOLS, "tool_choice": "required"})
    return Measured(
        0 < len(choices) == finished <= valid == len(calls) and len(names) > 1,
        "{valid} of {calls} calls in {answers} answers have an id, one of {names} declared names "
        "and arguments that validate; {told} finish with the reason “tool_calls”.",
        {
            "valid": valid,
            "calls": len(calls),
            "answers": len(choices),
            "told": finished,
            "names": len(names),
        },
        Picture(
            "Tokens of 4096 that may come at each place of a call",
            "token",
            "tokens",
            _spelt(lab, _FIND),
            {"required": room},
            "bars",
            log_y=True,
        )
        if room
        else None,
    )


def _answers(lab: Lab, choice: Any) -> list[tuple[str | None, list[str]]]:
    """Return what 4 answers say and whom they call, of those that end or only say something."""
    request = {
        **_TOOLS,
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "temperature": 1.5,
        "seed": 5,
        "max_tokens": 60,
    }
    return [
        (answer.content, [call.name for call in answer.tool_calls])
        for answer in lab.generate("The king", request, n=4)
    ]


def _may(lab: Lab, choice: Any) -> list[bool]:
    """Say whether a text, either call, and both can be an answer."""
    request = {**_TOOLS, "tool_choice": choice}
    return [bool(lab.room(text, request)) for text in (_MESSAGE, _NOW, _FIND, _BOTH)]


@CLAIMS.about(
    "tool_choice", "none", "With none no tool is called: a message comes.", extra="structured"
)
def _tool_choice_none(lab: Lab) -> Measured:
    def at_first(text: str) -> list[int]:
        requests = ({**_TOOLS, "tool_choice": choice} for choice in choices.values())
        return [next(iter(lab.room(text, request)), 0) for request in requests]

    answers = _answers(lab, "none")
    choices = {"none": "none", "auto": "auto", "required": "required", "named": _NOW_ALONE}
    calls = sum(len(called) for _, called in answers)
    texts = sum(bool(content) for content, _ in answers)
    return Measured(
        calls == 0 and texts == len(answers) and _may(lab, "none")[0],
        "{texts} of {answers} answers are text and {calls} have calls.",
        {"texts": texts, "answers": len(answers), "calls": calls},
        Picture(
            "Tokens of 4096 that may begin a text, or a call",
            "tool_choice",
            "tokens (none: impossible)",
            list(choices),
            {"a text": at_first(_MESSAGE), "a call of now": at_first(_NOW)},
            "bars",
            log_y=True,
        ),
    )


@CLAIMS.about(
    "tool_choice",
    "auto",
    "With auto the model picks a message or calls of tools.",
    extra="structured",
)
def _tool_choice_auto(lab: Lab) -> Measured:
    may, absent = _may(lab, "auto"), _may(lab, None)
    texts = sum(bool(content) for content, _ in _answers(lab, "auto"))
    return Measured(
        all(may) and all(absent),
        "Of a message, a call of either tool and both calls, {may} of 4 can be written with auto, "
        "{absent} without a choice. The story teller, who knows no calls, writes {texts} messages "
        "of 4.",
        {"may": sum(may), "absent": sum(absent), "texts": texts},
    )


@CLAIMS.about(
    "tool_choice", "required", "With required one or more tools are called.", extra="structured"
)
def _tool_choice_required(lab: Lab) -> Measured:
    answers, may = _answers(lab, "required"), _may(lab, "required")
    calling = sum(len(called) >= 1 and content is None for content, called in answers)
    return Measured(
        calling == len(answers) and may == [False, True, True, True],
        "{calling} of {answers} answers call a tool and say nothing; of a message, either call "
        "and both, {may} of 4 can be written.",
        {"calling": calling, "answers": len(answers), "may": sum(may)},
    )


@CLAIMS.about(
    "tool_choice", "named", "One named function forces a call of that one.", extra="structured"
)
def _tool_choice_named(lab: Lab) -> Measured:
    answers, may = _answers(lab, _NOW_ALONE), _may(lab, _NOW_ALONE)
    right = sum(called == ["now"] for _, called in answers)
    return Measured(
        right == len(answers) and may == [False, True, False, False],
        "{right} of {answers} answers call it, once; of a message, its call, the other call and "
        "both, {may} of 4 can be written.",
        {"right": right, "answers": len(answers), "may": sum(may)},
    )


@CLAIMS.about(
    "tool_choice",
    "type",
    "Its value is an array.",
    wrong="it is a string, or a map that names a function",
    extra="structured",
)
def _tool_choice_type(lab: Lab) -> Measured:
    arrays = [["auto"], [_NOW_ALONE], []]
    others = ["none", "auto", "required", _NOW_ALONE]
    refused = [bool(lab.refusal({**_TOOLS, "tool_choice": one})) for one in arrays]
    accepted = [not lab.refusal({**_TOOLS, "tool_choice": one}) for one in others]
    return Measured(
        all(refused) and all(accepted),
        "{refused} of {arrays} arrays are refused, {accepted} of {others} strings and maps "
        "accepted.",
        {
            "refused": sum(refused),
            "arrays": len(arrays),
            "accepted": sum(accepted),
            "others": len(others),
        },
    )


@CLAIMS.about(
    "parallel_tool_calls",
    "several",
    "True, the default, lets one answer call several functions; false lets it call them in turn.",
    vague="in turn means one call in this answer, and the next one after its result",
    extra="structured",
)
def _several(lab: Lab) -> Measured:
    request = {**_TOOLS, "tool_choice": "required", "seed": 5, "max_tokens": 90}
    many, one = (
        [len(a.tool_calls) for a in lab.generate("The king", {**request, **more}, n=5)]
        for more in (_PARALLEL[0], _PARALLEL[2])
    )
    rooms = [bool(lab.room(_BOTH, {**request, **more})) for more in _PARALLEL]
    return Measured(
        max(many) > 1 and max(one) == 1 and rooms == [True, True, False],
        "Of 5 answers of at most 90 tokens, the longest has {many} calls without the key and {one} "
        "with false; with false no second call can be written.",
        {"many": max(many), "one": max(one)},
        Picture(
            "Calls in answers of at most 90 tokens",
            "answer",
            "calls",
            list("12345"),
            {"absent or true": many, "false": one},
            "bars",
        ),
    )


@CLAIMS.about(
    "parallel_tool_calls", "needs_tools", "It means something only where there are tools."
)
def _needs_tools(lab: Lab) -> Measured:
    requests = ({"seed": 5, "max_tokens": 10, **more} for more in _PARALLEL)
    groups = [lab.tokens("The king", request, n=4) for request in requests]
    same = sum(absent == true == false for absent, true, false in zip(*groups, strict=True))
    return Measured(
        same == 4,
        "Without tools {same} of 4 texts are token for token the same with true, false and "
        "without it.",
        {"same": same},
    )
