"""What a list of the likeliest tokens says, whatever was drawn and put among them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from logitlab.verification.answer import Position, Token
from logitlab.verification.places import places

from verification.providers import listing

_ROW = dict(zip("abcdefgh", np.log([0.3, 0.2, 0.15, 0.12, 0.1, 0.06, 0.04, 0.03]), strict=True))
_ASKED = 4


def _position(drawn: str, how: str) -> Position:
    """Return what a server that lists so many of the row reports of a draw."""

    def entry(token: str) -> dict[str, object]:
        return {"token": token, "bytes": list(token.encode()), "logprob": _ROW[token]}

    tops = [entry(token) for token in "abcdefgh"[:_ASKED]]
    told = listing({**entry(drawn), "top_logprobs": tops}, how)
    return Position(drawn, {str(each["token"]): float(each["logprob"]) for each in told})


@pytest.mark.parametrize("how", ["best", "added", "replaced"])
def test_what_is_surely_the_likeliest_does_not_depend_on_the_draw(how: str) -> None:
    for drawn in _ROW:
        position = _position(drawn, how)
        assert list(position.likeliest(_ASKED)) == ["a", "b", "c"]
        # The place of an answer has more only of a list that is longer because of the draw.
        [place] = places([position])
        assert place.tokens[:3] == ("a", "b", "c")
        assert place.drawn == ("abc".index(drawn) if drawn in "abc" else None)


def test_a_list_that_leaves_nothing_out_is_whole() -> None:
    cut: dict[Token, float] = {"b": math.log(0.25), "a": math.log(0.75)}
    assert list(Position("b", cut).likeliest(20)) == ["a", "b"]
    assert list(Position("b", cut).likeliest(2)) == list(Position("b", cut).likeliest()) == ["a"]
    assert Position("x").likeliest(20) == {}
