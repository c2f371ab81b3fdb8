"""Whatever arrives is read, or refused in one way: nothing else is ever raised."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import random
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import EndpointError
from logitlab.verification import battery
from logitlab.verification.answer import Answer
from logitlab.verification.calls import calls_of
from logitlab.verification.endpoint import Endpoint
from logitlab.verification.exchange import Dropped, Response
from logitlab.verification.identity import Identity
from logitlab.verification.pieces import pieces_of
from logitlab.verification.reading import (
    answer_of,
    counted_tokens,
    document_of,
    given_document,
    status_of,
)

from verification.sockets import said
from verification.stages import STAGES

READ: list[Any] = []  # so that the test below cannot pass for want of answers

LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


# Half of a surrogate pair is a text of JSON, too.
TEXT = st.text(max_size=5) | st.sampled_from(["\ud800", "a\udfff"])
NUMBER = st.floats(-30, 0)


def exactly(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(parts)


def few(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, min_size=1, max_size=2)


TOP = exactly(token=TEXT, logprob=NUMBER, bytes=st.none() | few(st.integers(0, 255)))
ENTRY = exactly(token=TEXT, logprob=NUMBER, top_logprobs=few(TOP))
CONTENT = exactly(content=few(ENTRY))
LISTS = exactly(
    tokens=few(TEXT),
    token_logprobs=few(NUMBER),
    top_logprobs=few(st.dictionaries(TEXT, NUMBER, min_size=1, max_size=3)),
)
USAGE = exactly(prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9))
CHAT = exactly(message=exactly(content=TEXT, reasoning=TEXT), logprobs=CONTENT)
PLAIN = exactly(text=TEXT, logprobs=LISTS)
WHOLE = exactly(choices=few(CHAT | PLAIN), usage=USAGE, model=TEXT, system_fingerprint=TEXT)
REFUSAL = exactly(error=exactly(message=TEXT, code=st.integers(300, 700)), detail=JSON)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container of a document with a key of it."""
    own = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in own:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Return an answer in which up to two things are not what they should be, or missing."""
    document: dict[str, Any] = draw(WHOLE | REFUSAL)
    for _ in range(draw(st.integers(0, 2))):
        container, key = draw(st.sampled_from(places(document) or [(document, "x")]))
        if isinstance(container, dict) and draw(st.booleans()):
            container.pop(key, None)
        else:
            container[key] = draw(JSON)
    return document


ANSWER = answers()


@settings(max_examples=250, deadline=None)
@given(ANSWER, st.sampled_from([200, 200, 200, 400, 422, 500]))
def test_any_document_is_an_answer_or_an_endpoint_error(document: Any, status: int) -> None:
    status = status_of(status, document)
    Identity.of(document)
    assert all(0 <= count < 1 << 53 for count in counted_tokens(document))
    try:
        answer = answer_of(status, document)
    except EndpointError:
        return
    assert answer.refused == (status != 200)
    assert (answer.words is None) == (status == 200)
    if answer.refused:
        return
    assert all(isinstance(count, int) for count in answer.tokens)
    for number in range(3):
        assert isinstance(answer.text(number), str)
        for position in answer.positions(number):
            assert isinstance(position.token, str | bytes)
            READ.append(position)
            assert all(math.isfinite(x) and x <= 1e-3 for x in position.top.values())


def test_some_of_them_were_read() -> None:
    if not READ:
        test_any_document_is_an_answer_or_an_endpoint_error()
    assert len(READ) > 20


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=40) | ANSWER.map(lambda each: json.dumps(each).encode()),
    st.sampled_from(["application/json", "text/html", "text/event-stream", ""]),
    st.sampled_from([200, 404, 500]),
)
def test_any_bytes_are_a_document_or_an_endpoint_error(
    content: bytes, kind: str, status: int
) -> None:
    try:
        document = document_of(Response(status, kind, None, None, content))
    except (EndpointError, Dropped):
        assert status == 200
        return
    assert isinstance(document, dict)


@settings(max_examples=100, deadline=None)
@given(JSON | ANSWER | st.tuples(st.integers(0, 700), ANSWER) | st.just(object()))
def test_anything_that_a_function_returns_is_a_document_or_an_endpoint_error(given_: Any) -> None:
    try:
        status, document = given_document(given_)
    except EndpointError:
        return
    assert isinstance(status, int)
    assert isinstance(document, dict)


def test_an_object_that_cannot_be_read_is_an_endpoint_error() -> None:
    class Broken:
        def model_dump(self) -> Any:
            raise RuntimeError("no dump")

    with pytest.raises(EndpointError, match="an object whose model_dump raises RuntimeError"):
        given_document(Broken())


async def _waits() -> dict[str, Any]:
    return said("hi")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", "a str, and not its answer: json.loads makes it of text."),
        (b"{}", "a bytes, and not its answer: json.loads makes it of text."),
        (5, "an int, and not its answer: a mapping is due, or (status, mapping)."),
        (None, "nothing, and not its answer: a mapping is due, or (status, mapping)."),
        ([1], "a list, and not its answer: a mapping is due, or (status, mapping)."),
        ((said("hi"),), "a tuple, and not its answer: a pair is (status, mapping)."),
        ((said("hi"), 200), "a tuple, and not its answer: a pair is (status, mapping)."),
        ((200, None), "nothing, and not its answer: a mapping is due, or (status, mapping)."),
        (iter([said("hi")]), "a list_iterator, and not its answer: streams are not read."),
        (_waits, "a coroutine, and not its answer: an async one is called by asyncio.run."),
    ],
)
def test_what_a_function_returns_in_the_place_of_an_answer_is_told(
    given: Any, message: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(EndpointError) as error:
        Endpoint(lambda body: given() if given is _waits else given).send([{}])
    assert str(error.value) == f"The function returns {message}"
    assert not recwarn.list  # of a coroutine that nobody has awaited


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/octet-stream", ""])
@pytest.mark.parametrize("front", [b"", b"\xef\xbb\xbf", b"\n "])
def test_json_is_json_whatever_it_calls_itself(kind: str, front: bytes) -> None:
    document = document_of(Response(200, kind, None, None, front + b'{"choices": []}'))
    assert document == {"choices": []}


def test_words_of_a_server_are_one_line_that_steers_nothing() -> None:
    told = "\x1b[31mno\x1b[0m\n\ttop_k\x00 \u202e here\x1b]0;title\x07"
    for error in (told, {"message": told}, {"message": told, "code": 400}):
        assert Answer(400, {"error": error}).words == "no top_k here"
    assert Answer(400, {"error": {"message": told, "code": 5}}).words == "no top_k here (code 5)"
    assert Answer(400, {"error": {"message": "E5", "code": 5}}).words == "E5"
    assert Answer(400, {"error": {"message": "no", "code": "bad_value"}}).words == "no"
    identity = Identity.of({"model": told, "system_fingerprint": "a\nb"})
    assert str(identity) == "no top_k here a b"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 5}, 400),
        ({"code": "5"}, 400),
        ({"code": None}, 400),
        ("boom", 400),
        ({"code": 404}, 404),
        ({"code": "502"}, 502),
        ({"code": "9" * 5000}, 400),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"code": None, "type": "overloaded_error"}, 503),
        ({"code": "invalid_value", "type": "invalid_request_error"}, 400),
    ],
)
def test_an_error_in_a_200_has_the_status_that_it_names(error: Any, status: int) -> None:
    assert status_of(200, {"error": error}) == status


def reported(entry: dict[str, Any], text: str = "a") -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "logprobs": {"content": [entry]}}]}


@pytest.mark.parametrize(
    "number", [np.float32(-1.5), np.float64(-1.5), np.array(-1.5), -1.5, np.int8(-1)]
)
@pytest.mark.parametrize("data", [b"a", bytearray(b"a"), memoryview(b"a"), array("B", [97])])
def test_numbers_and_buffers_of_other_libraries_are_read(number: Any, data: Any) -> None:
    top = {"token": "?", "logprob": number, "bytes": data}
    given = reported({**top, "bytes": np.frombuffer(b"a", np.uint8), "top_logprobs": (top,)})
    given["usage"] = {"prompt_tokens": np.int64(7)}
    given["created"] = datetime.now(UTC)
    [answer] = Endpoint(lambda body: given).send([{}])
    [position] = answer.positions()
    assert position.token == b"a"
    assert position.top == {b"a": float(number)}
    assert answer.tokens == (7, 0)


@pytest.mark.parametrize("wrong", [{1}, frozenset("a"), {(1, 2): 3}, {b"a": 1}])
def test_what_json_cannot_hold_is_told(wrong: Any) -> None:
    with pytest.raises(EndpointError, match="an object that is not JSON: ") as error:
        Endpoint(lambda body: said("hi", more=wrong)).send([{}])
    assert any(name in str(error.value) for name in ("set", "keys must be"))


@pytest.mark.parametrize("value", [{1}, object(), float("nan"), 1j])
def test_a_request_that_json_cannot_hold_is_told_by_its_key(value: Any) -> None:
    with pytest.raises(ll.ParameterError, match="stop must be what JSON can hold, got"):
        Endpoint(lambda body: said("hi")).send([{"n": 1, "stop": [value]}])


def test_a_request_may_hold_numbers_and_buffers() -> None:
    seen: list[Any] = []

    def keeps(body: dict[str, Any]) -> dict[str, Any]:
        seen.append(body)
        return said("hi")

    Endpoint(keeps).send(
        [{"a": [np.int32(3), memoryview(array("d", [1.5]))], "b": np.ones(2, bool)}]
    )
    assert seen == [{"a": [3, [1.5]], "b": [True, True]}]


def test_entries_that_pad_a_list_are_no_tokens() -> None:
    pad = {"token": "", "id": -1, "logprob": 0.0}
    entry = {"token": "a", "id": 5, "logprob": -1.0}
    given = reported({**entry, "top_logprobs": [entry, pad, {**pad, "id": None, "token_id": -1}]})
    given["choices"][0]["logprobs"]["content"].append(pad)
    answer = answer_of(200, given)
    assert [each.token for each in answer.positions()] == [b"a"]
    assert answer.positions()[0].top == {b"a": -1.0}
    tokens = [{"id": 5, "piece": "a"}, {"id": -1, "piece": ""}, {"id": -1, "piece": "b"}]
    assert pieces_of({"tokens": tokens}, "a") == [b"a"]
    assert pieces_of({"tokens": [5, -1, -1], "token_strs": ["a", "", "x"]}, "a") == [b"a"]


def test_parts_of_a_content_are_texts_or_told() -> None:
    parts = [{"text": "a"}, {"type": "image"}, {"text": None}, 5, {"text": "b"}]
    assert answer_of(200, {"choices": [{"message": {"content": parts}}]}).text() == "ab"
    with pytest.raises(EndpointError, match=r"an int as choices\[0\]\.message\.content\[0\]\.text"):
        answer_of(200, {"choices": [{"message": {"content": [{"text": 5}]}}]})


@pytest.mark.parametrize("told", [-5, 1.5, "5", True, float("nan"), 10**400, None, [1], {}])
def test_of_a_refusal_nothing_but_its_words_is_read(told: Any) -> None:
    usage = {"prompt_tokens": told, "completion_tokens": told}
    answer = Answer(400, {"choices": told, "usage": usage, "error": "no"})
    assert (answer.choices, answer.text(), answer.positions(), answer.words) == ([], "", [], "no")
    assert answer.tokens == (int(told == 1.5),) * 2


@pytest.mark.parametrize("made", [5, 1.5, True, "x", {"function": {}}, [5], [{"function": 5}]])
def test_calls_that_are_none_are_none(made: Any) -> None:
    message = {"content": "hi", "tool_calls": made}
    assert calls_of(answer_of(200, {"choices": [{"message": message}]})) == []


class Broken(Mapping[str, Any]):
    """A mapping, and an exception's body, in which everything raises."""

    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError

    def __iter__(self) -> Any:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError


class MuteError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class OddError(Exception):
    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError


def with_status(error: Exception, status: Any, body: Any = None) -> Exception:
    error.status_code, error.body = status, body  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "The function raises KeyError: 'x'."),
        (StopIteration(), "The function raises StopIteration."),
        (MuteError(), "The function raises MuteError."),
        (OddError, "The function raises OddError."),
        (ll.ParameterError("x", "y", 1), "The function raises ParameterError: x must be y, got 1."),
        (with_status(Exception("no"), "400"), "The function raises Exception: no."),
        (with_status(Exception("no"), True), "The function raises Exception: no."),
        (with_status(Exception(), 400, Broken()), "an object that is not JSON"),
        (with_status(MuteError(), 400), "simplest request: 400, MuteError."),
        (with_status(Exception("no"), 400, {1: {2: {3}}}), "an object that is not JSON"),
        (with_status(Exception("no"), 400, {1: {2: 3}}), "simplest request: 400, {'1': {'2': 3}}."),
    ],
)
def test_whatever_a_function_raises_is_told(error: Any, told: str) -> None:
    def function(body: Any) -> Any:
        raise error

    with pytest.raises(EndpointError) as raised:
        ll.verify(function)
    assert told in str(raised.value)


def deep(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    "given",
    [
        Broken(),
        SimpleNamespace(status_code="x", json=lambda: said("hi")),
        SimpleNamespace(status_code=200, json=lambda: 1 // 0),
        SimpleNamespace(to_dict=lambda: 1 // 0),
        OddError,
        deep(100),
        deep(100_000),
    ],
)
def test_an_object_of_any_kind_is_told(given: Any) -> None:
    with pytest.raises(EndpointError, match=r"^The (function returns|endpoint answers with) a"):
        Endpoint(lambda body: given() if given is OddError else given).send([{}])


FINISHED: list[int] = []
VALUES = [
    None, "x", b"x", [], {}, [[1]], float("nan"), 10**400, -5, "-1.5", True, 1.5, math.inf, 2**63,
    np.float32(1.5), np.array([1, 2]), memoryview(b"ab"), array("d", [1.0]), {1: 2}, {(1, 2): 3},
    object(), {3}, "\ud800", "\x1b[31m", {"a": {"b": []}}, [None], ["x", None], [{}],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_an_examination_survives_any_value_in_any_place(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a report, or with a message that names what is wrong."""
    monkeypatch.setattr(battery, "STAGES", STAGES)
    rng, model = random.Random(seed), ll.models.NGram.bundled()
    from_when, place, value = rng.randrange(12), rng.random(), rng.choice(VALUES)
    count = 0

    def function(body: dict[str, Any]) -> Any:
        nonlocal count
        count += 1
        given = copy.deepcopy(ll.chat(model, body))
        if count > from_when:
            found = places(given)
            # The last places are those of the usage; between lie a few hundred log-probabilities.
            container, key = found[int(place * (40 if seed % 2 else len(found))) % len(found)]
            container[key] = value
        return given

    with contextlib.suppress(EndpointError):
        result = ll.verify(function, cap=20)
        FINISHED.append(seed)
        json.dumps(result.to_dict(), allow_nan=False)
        assert str(result)
        assert result.markdown()


def test_some_of_these_examinations_came_to_their_end() -> None:
    assert not FINISHED or 3 < len(FINISHED) < 40
