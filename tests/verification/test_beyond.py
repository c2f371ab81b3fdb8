"""Samplers beyond the page: honoured, ignored, refused, and what cannot be told."""

from __future__ import annotations

import dataclasses

import pytest
from logitlab import PARAMETERS
from logitlab.request.beyond import BeyondParameters
from logitlab.verification.beyond import FIRST, LATER, NOT_SENT, _First, beyond, circles
from logitlab.verification.in_force import in_force
from logitlab.verification.whole import Dialects

from verification.learnt import decided
from verification.providers import Provider


def test_every_sampler_beyond_the_page_is_sent_or_said_not_to_be() -> None:
    sent = {key for each in (*FIRST.values(), *LATER.values()) for key in each}
    fields = {field.name for field in dataclasses.fields(BeyondParameters)}
    samplers = {key for key in fields if PARAMETERS[key].role == "distribution"}
    assert not sent & set(NOT_SENT)
    assert sent | set(NOT_SENT) == samplers


@pytest.mark.slow
@pytest.mark.parametrize("key", ["typical_p", "mirostat"])
@pytest.mark.parametrize(("engine", "verdict"), [("llama_cpp", "honoured"), ("vllm", "ignored")])
def test_a_sampler_beyond_the_page(key: str, engine: str, verdict: str) -> None:
    study = decided(Provider(engine, seed=8))
    _First(study, key, FIRST[key]).run(40)
    found = study.findings[key]
    # Its own race, that of the backgrounds, and those that it relies on.
    assert (found.verdict, found.error - found.relies) == (verdict, 2 * study.alpha)
    assert study.backgrounds is not None
    assert found.relies == study.alpha * len(study.backgrounds.rules) > 0
    assert found.claims[0].sent == FIRST[key][key]
    assert found.requests <= 41
    assert study.tokens >= found.tokens > 0


def test_what_engines_read_in_other_units_cannot_be_told() -> None:
    study = decided(Provider("vllm", seed=8))
    _First(study, "epsilon_cutoff", FIRST["epsilon_cutoff"]).run(20)
    found = study.findings["epsilon_cutoff"]
    assert found.verdict == "cannot_tell"
    assert found.detail.startswith("taken; engines differ in its units, and in some of them")


def test_a_refusal_beyond_the_page_is_told_in_its_words() -> None:
    study = decided(Provider("vllm", dict.fromkeys(FIRST, "refused")))
    beyond(study)
    assert {study.findings[key].verdict for key in FIRST} == {"refused"}
    assert study.findings["tfs"].says == "Unsupported parameter: 'tfs'."
    assert study.findings["dry_multiplier"].verdict == "cannot_tell"


def test_what_engines_are_left_is_asked_for_later_and_changes_nothing() -> None:
    study = decided(Provider("vllm", seed=8))
    first = _First(study, "typical_p", FIRST["typical_p"])
    settings = in_force(study, *first.beside)
    before = [repr(chain) for chain in first._chains(settings)]
    study.dialects = Dialects(alive=("llama_cpp",))
    assert [repr(chain) for chain in first._chains(settings)] == before


def test_circles_are_pairs_that_stood_there_before() -> None:
    assert circles(["a"] * 5) == 0.75
    assert circles([]) == 0
