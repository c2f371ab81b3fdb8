"""Names that an engine has for documented keys: who is told of them, and what errors call them."""

from __future__ import annotations

from typing import Any

import pytest
from logitlab import engines, translate
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
