"""Whatever arrives is read, or refused in one way: nothing else is ever raised."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from logitlab import EndpointError
from logitlab.verification.answer import Answer
from logitlab.verification.endpoint import Endpoint
from logitlab.verification.exchange import Dropped, Response
from logitlab.verification.identity import Identity
from logitlab.verification.reading import (
    answer_of,
    counted_tokens,
    document_of,
    given_document,
    status_of,
)

from verification.sockets import said

READ: list[Any] = []  # so that the test below cannot pass for want of answers

LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


TEXT = st.text(max_size=5)
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
