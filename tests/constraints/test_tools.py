"""Calls as the request allows them, and read back as they were written."""

from __future__ import annotations

import json
import pickle
import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from logitlab import ParameterError, SamplingParams, Vocabulary
from logitlab.constraints import (
    CallParser,
    CallPiece,
    JsonObject,
    JsonSchema,
    ToolCall,
    Tools,
    call_id,
    constraint_of,
    constraint_of_values,
    marker_ids,
)

from constraints.schemas import PERSON, SCHEMAS, TREE
from constraints.writing import RUNS, accepts, text, vocabularies, written

PARAMETERS: dict[str, Any] = {"add": PERSON, "plant": TREE, "now": None}
TOOLS = [
    {"type": "function", "function": {"name": "add", "strict": True, "parameters": PERSON}},
    {"type": "function", "function": {"name": "plant", "parameters": TREE}},
    {"type": "function", "function": {"name": "now"}},
]
NAMED = {"type": "function", "function": {"name": "plant"}}
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
CHOICES: list[Any] = ["none", "auto", "required", NAMED]


def check_calls(calls: list[ToolCall]) -> None:
    for call in calls:
        assert call.complete
        schema = PARAMETERS[call.name] or {"maxProperties": 0}
        Draft202012Validator(schema).validate(json.loads(call.arguments))


@pytest.mark.parametrize("vocabulary", ["bytes", "grimm", "smollm2"])
@pytest.mark.parametrize("parallel", [True, False], ids=["many", "one"])
@pytest.mark.parametrize("choice", CHOICES, ids=["none", "auto", "required", "named"])
def test_many_texts(choice: Any, parallel: bool, vocabulary: str) -> None:
    tools = Tools(TOOLS, choice, parallel)
    runs = RUNS if parallel and choice in ("required", "auto") else 40
    counts = set()
    for seed in range(runs):
        close = 3 if choice == "required" else 6
        tokens, ended = written(tools, vocabulary, seed, most=1000, close=close)
        assert ended
        content, calls = tools.parse(text(vocabulary, tokens))
        check_calls(calls)
        counts.add(len(calls))
        if choice in ("required", NAMED):
            assert content is None
        if choice == "none":
            assert "<tool_call>" not in (content or "")
        if choice == NAMED:
            assert [call.name for call in calls] == ["plant"]
    if choice == "none":
        assert counts == {0}
    elif choice == NAMED or not parallel:
        assert max(counts) <= 1
    elif choice == "required":
        assert min(counts) == 1 < max(counts)


@pytest.mark.parametrize("text", ["", "abc", "<tool_call", "a < b <<tool_call", "</tool_call>"])
def test_text_without_calls(text: str) -> None:
    for choice in CHOICES:
        assert accepts(Tools(TOOLS, choice), text) == (choice in ("none", "auto"))


def test_calls_beside_text() -> None:
    many, one = Tools(TOOLS), Tools(TOOLS, parallel=False)
    for before in ("", "Well.\n", "<tool_", "\x00 é"):
        assert accepts(many, before + NOW)
        assert accepts(one, before + NOW)
        assert accepts(many, f"{before}{NOW}\n{NOW}")
        assert not accepts(one, f"{before}{NOW}\n{NOW}")
        assert not accepts(many, before + NOW + " and more")
        assert not accepts(Tools(TOOLS, "none"), before + NOW)
        assert accepts(Tools(TOOLS, "required"), before + NOW) == (before == "")
    assert not accepts(many, NOW.replace("now", "later"))
    assert not accepts(many, NOW.replace("{}}", '{"a":1}}'))


def test_content_with_a_format() -> None:
    tools = Tools(TOOLS, content=JsonObject())
    for whole, good in (('{"a":1}', True), (NOW, True), ("{}" + NOW, False), ("text", False)):
        assert accepts(tools, whole) == good
    assert tools.parse('{"a":"<tool_call>"}') == ('{"a":"<tool_call>"}', [])
    assert tools.parse(NOW)[0] is None
    for seed in range(60):
        tokens, ended = written(Tools(TOOLS, content=JsonSchema(PERSON)), "grimm", seed, most=600)
        assert ended
        content, calls = tools.parse(text("grimm", tokens))
        assert (content is None) == bool(calls)
        check_calls(calls)
        if content is not None:
            Draft202012Validator(PERSON).validate(json.loads(content))


def test_special_tokens_mark_calls() -> None:
    plain = [bytes([value]) for value in range(256)]
    special = [b"<end>", b"<tool_call>", b"</tool_call>", b"<other>"]
    vocabulary = Vocabulary([*plain, *special], special=[256, 257, 258, 259])
    assert marker_ids(vocabulary) == {257, 258}
    assert marker_ids(vocabularies()["smollm2"][0]) == frozenset()
    tools = Tools(TOOLS)
    matcher = tools.start(vocabulary, [256])
    assert [i for i in range(256, 260) if matcher.allowed()[i]] == [256, 257]
    for value in b"Well <tool_call":
        matcher.advance(value)
    assert not matcher.allowed()[ord(">")]  # no marker is spelled out
    matcher.advance(ord(" "))
    matcher.advance(257)
    for value in NOW[len("<tool_call>") : -len("</tool_call>")].encode():
        assert not matcher.allowed()[256:].any()
        matcher.advance(value)
    assert matcher.allowed().nonzero()[0].tolist() == [258]
    matcher.advance(258)
    assert matcher.allowed().nonzero()[0].tolist() == [ord("\n"), 256]
    forced = Tools(TOOLS, "required").start(vocabulary, [256])
    assert forced.allowed().nonzero()[0].tolist() == [257]


def pieces(parser: CallParser, whole: str, rng: random.Random) -> list[str | CallPiece]:
    """Feed a text in random pieces."""
    parts: list[str | CallPiece] = []
    while whole:
        cut = rng.randint(1, rng.choice([1, 3, 20]))
        parts += parser.add(whole[:cut], final=len(whole) <= cut)
        whole = whole[cut:]
    return parts


def joined(parts: list[str | CallPiece]) -> tuple[str | None, list[tuple[str, str]]]:
    content = "".join(part for part in parts if isinstance(part, str)) or None
    calls: list[tuple[str, str]] = []
    for part in parts:
        if isinstance(part, CallPiece):
            if part.name is not None:
                assert part.arguments == ""
                assert part.index == len(calls)
                calls.append((part.name, ""))
            else:
                assert part.arguments
                assert part.index == len(calls) - 1
                name, before = calls[-1]
                calls[-1] = name, before + part.arguments
    return content, calls


@pytest.mark.parametrize("content", [None, JsonObject()], ids=["text", "object"])
def test_pieces_add_up_to_the_whole(content: JsonObject | None) -> None:
    tools = Tools(TOOLS, content=content)
    rng = random.Random(0)
    for seed in range(150):
        tokens, _ = written(tools, "grimm", seed, most=300, close=5)
        whole = text("grimm", tokens) if seed % 3 else "a<tool_ca" * (content is None) + NOW
        if seed % 2:
            whole = whole[: rng.randint(0, len(whole))]
        parser = tools.parser()
        said, called = joined(pieces(parser, whole, rng))
        parsed, calls = tools.parse(whole)
        assert (parser.content, parser.calls) == (parsed, calls)
        assert said == parsed
        assert called == [(call.name, call.arguments) for call in calls]


def test_arguments_are_the_text_as_written() -> None:
    arguments = '{"a":"}\\"}{","b":{"c":"\\\\"},"d":[1.50,{}]}'
    whole = f'Hm.<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>\n{NOW}'
    parser = CallParser()
    parser.add(whole, final=True)
    assert parser.content == "Hm."
    assert parser.calls == [ToolCall("f", arguments, True), ToolCall("now", "{}", True)]


def test_a_text_that_was_cut_off() -> None:
    tools = Tools(TOOLS)
    assert tools.parse("Well <tool_") == ("Well <tool_", [])
    assert tools.parse(NOW[:30]) == (None, [])
    start = NOW[: NOW.index("{}}")]
    assert tools.parse(start + "{") == (None, [ToolCall("now", "{", False)])
    assert tools.parse(start + "{}}\n") == (None, [ToolCall("now", "{}", False)])
    assert tools.parse(NOW + "\n<tool") == (None, [ToolCall("now", "{}", True)])


@pytest.mark.parametrize(
    "wrong", [NOW + " more", "<tool_call>" + "x" * 200, NOW.replace("}}", "}]"), NOW + "\n" + "<x"]
)
def test_what_is_no_call(wrong: str) -> None:
    with pytest.raises(ParameterError, match="text must be continued by"):
        Tools(TOOLS).parse(wrong)


def test_ids_are_repeatable_and_different() -> None:
    ids = [
        call_id(seed, sequence, i) for seed in (-1, 0, 2**80) for sequence in (0, 1) for i in (0, 1)
    ]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("call_") and one[5:].isalnum() for one in ids)
    assert call_id(7, 1, 2) == call_id(7, 1, 2) != call_id(7, 2, 1)


def format_of(schema: Any) -> dict[str, Any]:
    wrapper = {"name": "answer", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": wrapper}


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ({}, None),
        ({"temperature": 1, "tool_choice": "none", "response_format": None}, None),
        ({"response_format": {"type": "text"}, "tools": []}, None),
        ({"response_format": {"type": "json_object"}}, JsonObject()),
        ({"response_format": format_of(PERSON)}, JsonSchema(PERSON)),
        ({"tools": TOOLS}, Tools(TOOLS)),
        ({"tools": TOOLS, "tool_choice": "none"}, Tools(TOOLS, "none")),
        ({"tools": TOOLS, "tool_choice": "required"}, Tools(TOOLS, "required")),
        ({"tools": TOOLS, "tool_choice": NAMED}, Tools(TOOLS, NAMED)),
        ({"tools": TOOLS, "parallel_tool_calls": False}, Tools(TOOLS, parallel=False)),
        (
            {"tools": TOOLS, "response_format": format_of(PERSON)},
            Tools(TOOLS, content=JsonSchema(PERSON)),
        ),
        (
            {"tools": TOOLS, "tool_choice": "required", "response_format": format_of(PERSON)},
            Tools(TOOLS, "required", content=JsonSchema(PERSON)),
        ),
        (
            {"tools": TOOLS, "tool_choice": "none", "response_format": format_of(PERSON)},
            JsonSchema(PERSON),
        ),
    ],
)
def test_requests(request_body: dict[str, Any], expected: Any) -> None:
    assert constraint_of(request_body) == expected
    assert constraint_of(SamplingParams.from_request(request_body)) == expected


def test_values_that_were_checked_are_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    params = SamplingParams(
        tools=TOOLS, tool_choice=NAMED, parallel_tool_calls=False, response_format=format_of(PERSON)
    )
    values = {**params.given(), "structured_outputs": None, "temperature": 0.5}
    expected = constraint_of(params)
    monkeypatch.setattr(SamplingParams, "__post_init__", lambda self: pytest.fail("checked again"))
    assert constraint_of_values(values) == constraint_of(params) == expected
    assert constraint_of_values({}) is None


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ({"tool_choice": "required"}, "tool_choice must be 'none' or 'auto' without tools"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice must be one of the tools ['add', 'plant', 'now'], got 'x'.",
        ),
        ({"tools": [{"type": "web_search"}]}, 'tools[0] must be a map of type "function"'),
        ({"tools": [*TOOLS, TOOLS[0]]}, "tools[3].function.name must be different from all others"),
        ({"tools": TOOLS, "parallel_tool_calls": 1}, "parallel_tool_calls must be true or false"),
        (
            {"response_format": format_of({"not": {"pattern": "a"}})},
            "response_format.json_schema.schema.not must be absent: it cannot be enforced",
        ),
        (
            {"response_format": format_of(False)},
            "response_format.json_schema.schema must be a schema of some value",
        ),
        (
            {"structured_outputs": False, "response_format": format_of({})},
            "structured_outputs must be true with a json_schema, got False.",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": "required",
                "response_format": format_of({"if": {"pattern": "a"}, "then": False}),
            },
            "response_format.json_schema.schema.if must be absent",
        ),
    ],
)
def test_requests_that_make_no_sense(request_body: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        constraint_of(request_body)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"type": "string"}, "tools[0].function.parameters.type must be 'object', got 'string'."),
        (
            {"properties": {"a": {"not": {"pattern": "a"}}}},
            "tools[0].function.parameters.properties.a.not must",
        ),
        ({"$ref": "#/$defs/a"}, "tools[0].function.parameters.$ref must be a reference into the"),
        ({"type": ["object", "null"]}, "tools[0].function.parameters.type must be 'object', got"),
    ],
)
def test_parameters_that_cannot_be_enforced(parameters: Any, message: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(ParameterError) as error:
        Tools([tool])
    assert message in str(error.value)


def test_parameters_of_every_kind() -> None:
    refused = set()
    for name, schema in SCHEMAS.items():
        if isinstance(schema, dict) and schema.get("type", "object") == "object":
            tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
            try:
                tools = Tools([tool], "required", parallel=False)
            except ParameterError:  # a schema of something else
                refused.add(name)
                continue
            tokens, ended = written(tools, "bytes", 1, most=600, close=5)
            assert ended, name
            (call,) = tools.parse(text("bytes", tokens))[1]
            assert isinstance(json.loads(call.arguments), dict)
    others = {"grade", "const", "quotes and line ends", "text or number", "narrowed reference"}
    assert refused == others


def test_other_arguments() -> None:
    with pytest.raises(ParameterError, match="tools must be a non-empty array of tools"):
        Tools([])
    with pytest.raises(ParameterError, match="parallel must be True or False, got 1"):
        Tools(TOOLS, parallel=1)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="content must be a JsonSchema, a JsonObject or None"):
        Tools(TOOLS, content="text")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="params must be SamplingParams or a map"):
        constraint_of(3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="begins must be one of"):
        CallParser("anywhere")
    deep: Any = {}
    for _ in range(900):
        deep = {"items": deep}
    with pytest.raises(ParameterError, match=r"nested less deeply|levels deep"):
        constraint_of({"response_format": format_of(deep)})
    tools = Tools(TOOLS, NAMED)
    assert pickle.loads(pickle.dumps(tools)) == tools
    assert repr(tools) == "Tools(['add', 'plant', 'now'], 'plant', parallel=False)"
