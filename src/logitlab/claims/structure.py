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
_NAMED = {"type": "function", "function": {"name": "now"}}
_NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
_FIND = '<tool_call>\n{"name": "find", "arguments": {"n":7}}\n</tool_call>'
_TEXT = "It is late."


def _value(text: str) -> Any:
    """Return what a JSON text says; None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


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
    name, given = call["function"]["name"], _value(call["function"]["arguments"])
    if name == "now":
        return bool(given == {})
    valid = isinstance(given, dict) and given.keys() == {"n"} and type(given["n"]) is int
    return name == "find" and valid and 0 <= given["n"] <= 99


def _spelt(lab: Lab, text: str) -> list[str]:
    vocabulary = lab.model.vocabulary
    return [*(vocabulary.label(token) for token in lab.model.encode(text)), "end"]


# ---------------------------------------------------------------- response_format


@CLAIMS.about(
    "response_format", "json_object",
    "With json_object the message is valid JSON.",
    vague="only what ends by itself: an answer that max_tokens cuts off is the beginning of one",
    extra="structured",
)  # fmt: skip
def _json_object(lab: Lab) -> Measured:
    common = {"temperature": 1.5, "seed": 1, "max_tokens": 60}
    formed = lab.generate("Once", {**common, **_OBJECT}, n=8)
    free = lab.generate("Once", common, n=8)
    ended = [answer for answer in formed if answer.finish_reason == "stop"]
    valid = sum(isinstance(_value(answer.text), dict) for answer in ended)
    without = sum(isinstance(_value(answer.text), dict) for answer in free)
    return Measured(
        0 < len(ended) == valid and without == 0,
        "Of 8 answers at temperature 1.5, {ended} end within 60 tokens and {valid} of them are "
        "JSON objects; without the format {without} of 8 are.",
        {"ended": len(ended), "valid": valid, "without": without},
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
        request = {"messages": [{"role": "user", "content": content}], "n": 6, "seed": 1,
                   "max_tokens": 40, **_OBJECT}  # fmt: skip
        choices = lab.chat(request)["choices"]
        ended = [choice["message"]["content"] for choice in choices
                 if choice["finish_reason"] == "stop"]  # fmt: skip
        counts.append((len(ended), sum(isinstance(_value(text), dict) for text in ended)))
    (plain, valid), (asked, right) = counts
    return Measured(
        0 < plain == valid and 0 < asked == right,
        "Of answers that end, {valid} of {plain} are JSON objects without a word of JSON in the "
        "messages, and {right} of {asked} with it.",
        {"valid": valid, "plain": plain, "right": right, "asked": asked},
    )


@CLAIMS.about(
    "response_format", "json_schema",
    "With json_schema the message validates against the schema.",
    extra="structured",
)  # fmt: skip
def _json_schema(lab: Lab) -> Measured:
    common = {"temperature": 1.5, "seed": 1, "max_tokens": 80}
    ended = [
        answer for answer in lab.generate("Once", {**common, **_TALE}, n=8)
        if answer.finish_reason == "stop"
    ]  # fmt: skip
    valid = sum(_is_tale(_value(answer.text)) for answer in ended)
    right, wrong = '{"hero":"Gretel","wishes":3}', '{"hero":"Gretel","wishes":4}'
    room = {"json_object": lab.room(_OBJECT, right), "json_schema": lab.room(_TALE, right)}
    return Measured(
        0 < len(ended) == valid and bool(room["json_schema"]) and not lab.room(_TALE, wrong),
        "{valid} of {ended} answers that end validate. Of an object with all in range and one with "
        "a number out of it, {may} of 2 can be written.",
        {"valid": valid, "ended": len(ended),
         "may": bool(room["json_schema"]) + bool(lab.room(_TALE, wrong))},
        Picture(
            "Tokens of 4096 that may come at each place", "token", "tokens",
            _spelt(lab, right), room, "bars", log_y=True,
        ) if all(room.values()) else None,
    )  # fmt: skip


# ---------------------------------------------------------------- structured_outputs


@CLAIMS.about(
    "structured_outputs", "available",
    "It tells whether the model can return json_schema output.",
    vague="a property of a model as a key of a request; here false refuses a schema",
    extra="structured",
)  # fmt: skip
def _available(lab: Lab) -> Measured:
    text = '{"hero":"Gretel","wishes":3}'
    absent, true = lab.room(_TALE, text), lab.room({**_TALE, "structured_outputs": True}, text)
    refused = lab.refusal({**_TALE, "structured_outputs": False})
    wrongly = lab.refusal({**_TALE, "structured_outputs": True})
    alone = lab.refusal({"structured_outputs": False})
    shown = {"no schema": len(lab.model.vocabulary), "absent": (absent or [0])[0],
             "true": (true or [0])[0], "false": 0}  # fmt: skip
    return Measured(
        bool(refused) and not wrongly and not alone and absent == true != [],
        "With a schema, true leaves the same tokens to choose from as without it at {same} of "
        "{places} places; of false with a schema and false alone, {refused} and {alone} are "
        "refused.",
        {"same": sum(map(eq, absent, true)), "places": len(absent),
         "refused": int(bool(refused)), "alone": int(bool(alone))},
        Picture(
            "Tokens of 4096 that may begin an answer", "structured_outputs, beside a json_schema",
            "tokens (none: refused)", list(shown), {"may come": list(shown.values())}, "bars",
            log_y=True,
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- tools


@CLAIMS.about(
    "tools", "shape",
    "Tools are declared in OpenAI's shape, and calls come back in it.",
    vague="how a model writes a call is not said; here in <tool_call> marks, by a mask",
    extra="structured",
)  # fmt: skip
def _shape(lab: Lab) -> Measured:
    request = {"prompt": "The king", "tool_choice": "required", "parallel_tool_calls": False,
               "n": 6, "seed": 5, "max_tokens": 70, "temperature": 1.5, **_TOOLS}  # fmt: skip
    choices = [
        choice for choice in lab.chat(request).get("choices", [])
        if choice["finish_reason"] != "length"
    ]  # fmt: skip
    calls = [call for choice in choices for call in choice["message"].get("tool_calls", [])]
    valid = sum(map(_is_call, calls))
    told = sum(choice["finish_reason"] == "tool_calls" for choice in choices)
    names = {call["function"]["name"] for call in calls}
    room = lab.room({**_TOOLS, "tool_choice": "required"}, _FIND)
    return Measured(
        0 < len(choices) == told <= valid == len(calls) and len(names) > 1,
        "{valid} of {calls} calls in {answers} answers have an id, one of {names} declared names "
        "and arguments that validate; {told} finish with the reason “tool_calls”.",
        {"valid": valid, "calls": len(calls), "answers": len(choices), "told": told,
         "names": len(names)},
        Picture(
            "Tokens of 4096 that may come at each place of a call", "token", "tokens",
            _spelt(lab, _FIND), {"required": room}, "bars", log_y=True,
        ) if room else None,
    )  # fmt: skip


# ---------------------------------------------------------------- tool_choice


def _answers(lab: Lab, choice: Any) -> list[tuple[str | None, list[str]]]:
    """Return what 4 answers say and whom they call, of those that end or only say something."""
    request = {**_TOOLS, "tool_choice": choice, "parallel_tool_calls": False, "temperature": 1.5,
               "seed": 5, "max_tokens": 60}  # fmt: skip
    return [
        (answer.content, [call.name for call in answer.tool_calls])
        for answer in lab.generate("The king", request, n=4)
    ]


def _may(lab: Lab, choice: Any) -> list[bool]:
    """Say whether a text, either call, and both can be an answer."""
    request = {**_TOOLS, "tool_choice": choice}
    return [bool(lab.room(request, text)) for text in (_TEXT, _NOW, _FIND, f"{_NOW}\n{_FIND}")]


@CLAIMS.about(
    "tool_choice", "none", "With none no tool is called: a message comes.", extra="structured"
)
def _none(lab: Lab) -> Measured:
    answers = _answers(lab, "none")
    calls = sum(len(called) for _, called in answers)
    texts = sum(bool(content) for content, _ in answers)
    may = _may(lab, "none")
    choices: dict[str, Any] = {"none": "none", "auto": "auto", "required": "required",
                               "named": _NAMED}  # fmt: skip
    begins = {
        name: [(lab.room({**_TOOLS, "tool_choice": choice}, text) or [0])[0]
               for text in (_TEXT, _NOW)]
        for name, choice in choices.items()
    }  # fmt: skip
    return Measured(
        calls == 0 and texts == len(answers) and may[0],
        "{texts} of {answers} answers are text and {calls} have calls.",
        {"texts": texts, "answers": len(answers), "calls": calls},
        Picture(
            "Tokens of 4096 that may begin a text, or a call", "tool_choice",
            "tokens (none: impossible)", list(begins),
            {"a text": [begin[0] for begin in begins.values()],
             "a call of now": [begin[1] for begin in begins.values()]}, "bars", log_y=True,
        ),
    )  # fmt: skip


@CLAIMS.about(
    "tool_choice", "auto",
    "With auto the model picks a message or calls of tools.",
    extra="structured",
)  # fmt: skip
def _auto(lab: Lab) -> Measured:
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
def _required(lab: Lab) -> Measured:
    answers = _answers(lab, "required")
    calling = sum(len(called) >= 1 and content is None for content, called in answers)
    may = _may(lab, "required")
    return Measured(
        calling == len(answers) and may == [False, True, True, True],
        "{calling} of {answers} answers call a tool and say nothing; of a message, either call "
        "and both, {may} of 4 can be written.",
        {"calling": calling, "answers": len(answers), "may": sum(may)},
    )


@CLAIMS.about(
    "tool_choice", "named", "One named function forces a call of that one.", extra="structured"
)
def _named(lab: Lab) -> Measured:
    answers = _answers(lab, _NAMED)
    right = sum(called == ["now"] for _, called in answers)
    may = _may(lab, _NAMED)
    return Measured(
        right == len(answers) and may == [False, True, False, False],
        "{right} of {answers} answers call it, once; of a message, its call, the other call and "
        "both, {may} of 4 can be written.",
        {"right": right, "answers": len(answers), "may": sum(may)},
    )


@CLAIMS.about(
    "tool_choice", "type",
    "Its value is an array.",
    wrong="it is a string, or a map that names a function",
    extra="structured",
)  # fmt: skip
def _type(lab: Lab) -> Measured:
    arrays = [["auto"], [_NAMED], []]
    others = ["none", "auto", "required", _NAMED]
    refused = [bool(lab.refusal({**_TOOLS, "tool_choice": one})) for one in arrays]
    accepted = [not lab.refusal({**_TOOLS, "tool_choice": one}) for one in others]
    return Measured(
        all(refused) and all(accepted),
        "{refused} of {arrays} arrays are refused, {accepted} of {others} strings and maps "
        "accepted.",
        {"refused": sum(refused), "arrays": len(arrays), "accepted": sum(accepted),
         "others": len(others)},
    )  # fmt: skip


# ---------------------------------------------------------------- parallel_tool_calls


@CLAIMS.about(
    "parallel_tool_calls", "several",
    "True, the default, lets one answer call several functions; false lets it call them in turn.",
    vague="in turn means one call in this answer, and the next one after its result",
    extra="structured",
)  # fmt: skip
def _several(lab: Lab) -> Measured:
    request = {**_TOOLS, "tool_choice": "required", "seed": 5, "max_tokens": 90}
    answers = lab.generate("The king", [request, {**request, "parallel_tool_calls": False}], n=5)
    counts = [len(answer.tool_calls) for answer in answers]
    many, one = counts[:5], counts[5:]
    both = f"{_NOW}\n{_FIND}"
    rooms = [bool(lab.room({**request, **more}, both)) for more in (
        {}, {"parallel_tool_calls": True}, {"parallel_tool_calls": False})]  # fmt: skip
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
    common = {"seed": 5, "max_tokens": 10}
    requests = [{**common, **more} for more in (
        {}, {"parallel_tool_calls": True}, {"parallel_tool_calls": False})]  # fmt: skip
    found = [answer.tokens.tolist() for answer in lab.generate("The king", requests, n=4)]
    same = sum(found[i] == found[4 + i] == found[8 + i] for i in range(4))
    return Measured(
        same == 4,
        "Without tools {same} of 4 texts are token for token the same with true, false and "
        "without it.",
        {"same": same},
    )
