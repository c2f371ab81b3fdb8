"""The tokens of an answer are those of its text, whatever the report names."""

from __future__ import annotations

import pytest
from logitlab.verification.answer import Answer, Position, Token
from logitlab.verification.spelt import spelt

_TOPS: list[dict[Token, float]] = [
    {b"a": -1.0, b" Ec": -1.5, b"ardships": -2.0},
    {b" paw": -0.5, b" p": -1.0, b"aw": -3.0},
]


def _answer(text: str, tokens: list[str], tops: list[dict[str, float]]) -> Answer:
    content = [
        {
            "token": token,
            "logprob": -1.0,
            "top_logprobs": [{"token": t, "logprob": x} for t, x in top.items()],
        }
        for token, top in zip(tokens, tops, strict=True)
    ]
    choice = {"message": {"content": text}, "logprobs": {"content": content}}
    return Answer(200, {"choices": [choice]})


def test_tokens_that_make_the_text_stay() -> None:
    found = [Position(b"ardships", _TOPS[0]), Position(b" paw", _TOPS[1])]
    assert spelt(found, "ardships paw") == found


@pytest.mark.parametrize("stripped", ["Ec", " Ec"])
def test_servers_strip_the_first_space(stripped: str) -> None:
    found = [Position(b" Ec", _TOPS[0])]
    assert spelt(found, stripped) == found


def test_the_first_of_the_top_list_in_the_place_of_what_was_drawn() -> None:
    # mlx_lm.server, seed 3: the text is "ardships paw", the report names " Ec" and another.
    found = [Position(b" Ec", _TOPS[0]), Position(b" p", _TOPS[1])]
    assert [each.token for each in spelt(found, "ardships paw")] == [b"ardships", b" paw"]
    assert spelt(found, "ardships paw")[0].top == _TOPS[0]


def test_a_token_that_begins_the_text_but_is_not_all_of_it_was_not_drawn() -> None:
    assert [each.token for each in spelt([Position(b"a", _TOPS[0])], "ardships")] == [b"ardships"]


def test_a_token_in_no_list_is_the_text() -> None:
    [only] = spelt([Position(b" Ec", _TOPS[0])], "zebra")
    assert only.token == b"zebra"


def test_the_longest_spelling_that_fits_is_found() -> None:
    tops: list[dict[Token, float]] = [{b"no": -1.0, b"nobo": -2.0}, {b"body": -1.0, b"x": -2.0}]
    found = [Position(b"x", tops[0]), Position(b"x", tops[1])]
    assert [each.token for each in spelt(found, "nobody")] == [b"no", b"body"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([b"<think>", b"so", b"yes"], "yes"),  # reasoning is reported, and no part of the text
        ([b"yes", b" sir"], "yes s"),  # a stop string has cut it
        ([b"\xe6"], "\ufffd"),
        ([b"yes"], ""),
    ],
)
def test_what_is_cut_or_hidden_is_left_alone(tokens: list[bytes], text: str) -> None:
    found = [Position(token, {token: -0.1}) for token in tokens]
    assert spelt(found, text) == found


def test_tokens_are_bytes_however_a_server_spells_them() -> None:
    tops = [{"Ġcare": -1.5, "ues": -2.0, "Ã©": -3.0}]
    assert _answer("care", ["ues"], tops).positions() == [
        Position(b" care", {b" care": -1.5, b"ues": -2.0, "é".encode(): -3.0})
    ]
    assert _answer("care", ["▁care"], [{"▁care": -1.0}]).positions()[0].token == b" care"
    assert _answer("é", ["é"], [{"é": -1.0}]).positions()[0].token == "é".encode()
    assert _answer("", ["\ud800"], [{"\ud800": -1.0}]).positions()[0].token == b"?"


def test_an_answer_tells_the_tokens_of_its_text() -> None:
    tops = [{" Ec": -1.5, "ardships": -2.0}]
    assert _answer("ardships", [" Ec"], tops).positions()[0].token == b"ardships"
    assert _answer(" Ec", [" Ec"], tops).positions()[0].token == b" Ec"
