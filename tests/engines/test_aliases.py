"""Names that an engine has for documented keys: who is told of them, and what errors call them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from logitlab import ParameterError, engines, translate
from logitlab.engines.rules import RefusalError
from logitlab.request.params import PARAMETERS

ALIASES = [
    (name, alias, known)
    for name in engines.ENGINES
    for alias, known in engines.get(name).aliases.items()
]
# What these servers read under its documented name, too.
BOTH = {
    ("sglang", "min_tokens"),
    ("koboldcpp", "repetition_penalty"),
    ("koboldcpp", "seed"),
    ("tabbyapi", "repetition_penalty"),
    ("tabbyapi", "min_tokens"),
    ("tabbyapi", "typical_p"),
}
VALUES: dict[str, Any] = {
    "bad_words": [[1]],
    "include_stop_str_in_output": True,
    "ignore_eos": True,
    "temperature_last": True,
    "mirostat": 2,
    "min_tokens": 1,
    "dry_penalty_last_n": 7,
    "seed": 7,
}


@pytest.mark.parametrize(("name", "alias", "known"), ALIASES)
def test_who_sends_a_documented_name_is_told_the_engines_own(
    name: str, alias: str, known: str
) -> None:
    recipe = engines.get(name)
    if known in recipe.options or {(name, known), (recipe.variant_of, known)} & BOTH:
        return
    value = VALUES.get(known, 0.5)
    effects = {n.effect for n in translate({known: value}, name).notes if n.key == known}
    assert effects & {"renamed", "ignored"}
    notes = [n for n in translate({alias: value}, name).notes if n.key == known]
    assert "renamed" not in {note.effect for note in notes}
    assert known in PARAMETERS


WRONG: tuple[Any, ...] = (
    "a",
    {},
    [],
    [0.5],
    -1,
    0,
    0.5,
    -(10**9),
    10**30,
    1e300,
    float("nan"),
    True,
)


@pytest.mark.parametrize(("name", "alias", "known"), ALIASES)
def test_an_error_names_what_was_written(name: str, alias: str, known: str) -> None:
    recipe, errors = engines.get(name), list[ParameterError]()
    for value in WRONG:
        for beside in ({}, {known: None}, {"temperature": 0.5}):
            try:
                recipe({alias: value, **beside}, vocabulary_size=5)
            except ParameterError as error:
                errors.append(error)
    assert len(errors) >= 3
    for each in errors:
        assert re.split(r"[.\[]", each.name)[0] == alias
        assert str(each).startswith(each.name)


def test_of_two_names_an_error_tells_that_whose_value_counts() -> None:
    for body, name in (
        ({"top_n_sigma": 1, "nsigma": "a"}, "nsigma"),
        ({"top_n_sigma": "a", "nsigma": 1}, "top_n_sigma"),
        ({"rep_pen": -2, "repetition_penalty": -1}, "repetition_penalty"),
        ({"rep_pen": -1, "repetition_penalty": -2}, "rep_pen"),
        ({"repeat_penalty": -3, "rep_pen": -2}, "rep_pen"),
    ):
        with pytest.raises(ParameterError) as error:
            translate(body, "koboldcpp")
        assert error.value.name == name


def test_a_refusal_under_an_alias_is_a_refusal_still() -> None:
    with pytest.raises(RefusalError, match=r"^min_new_tokens must be at least 0, got -1\. sglang"):
        translate({"min_new_tokens": -1}, "sglang")
    with pytest.raises(RefusalError, match=r"^nsigma must be non-negative, got -1\.0"):
        translate({"nsigma": -1}, "aphrodite")


def test_tabbyapi_takes_the_first_of_several_names() -> None:
    for body, key, value in (
        ({"custom_token_bans": "3,4"}, "banned_tokens", (3, 4)),
        ({"banned_tokens": [1], "custom_token_bans": [2]}, "banned_tokens", (1,)),
        ({"rep_pen_range": 5}, "penalty_range", 5),
        ({"rep_pen_range": 5, "repetition_range": 6}, "penalty_range", 6),
        ({"repetition_penalty_range": 7, "penalty_range": 8}, "penalty_range", 8),
        ({"rep_pen": 1.5, "repetition_penalty": 1.2}, "repetition_penalty", 1.2),
        ({"rep_pen": 1.5}, "repetition_penalty", 1.5),
    ):
        assert translate(body, "tabbyapi").values[key] == value
    told = str(translate({"rep_pen_range": 5, "repetition_range": 6}, "tabbyapi"))
    assert "rep_pen_range 5 is ignored by tabbyapi: 6 counts." in told
    assert "SuppressTokens((3,)" in repr(engines.tabbyapi({"custom_token_bans": [3]}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mirostat_mode", 2),
        ("mirostat_tau", 4.0),
        ("min_temp", 0.5),
        ("max_temp", 2.0),
        ("dynatemp_high", 2.0),
        ("ban_eos_token", True),
        ("allowed_tokens", [1, 2]),
        ("dry_range", 100),
        ("dry_penalty_last_n", 100),
        ("dry_base", 2.0),
    ],
)
def test_tabbyapi_takes_what_it_ignores(key: str, value: Any) -> None:
    [note] = translate({key: value}, "tabbyapi").notes
    assert note.effect == "ignored"
    assert note.sentence.endswith(
        "is ignored by tabbyapi: exllamav3 does not support it, as its log warns."
    )
    assert engines.tabbyapi({key: value}) == engines.tabbyapi({})
