"""Samplers beyond the page, held against what other code left of a few rows.

The numbers in ``vectors/beyond.json`` were left by the samplers of llama.cpp, and by the warpers of
transformers and text-generation-webui, called one by one.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from logitlab import (
    Chain,
    ExcludeTopChoices,
    MaxSurprise,
    Mirostat,
    ParameterError,
    SortedChain,
    TopK,
    TypicalP,
    Xtc,
    engines,
    softmax,
    survivors,
    translate,
)

from engines.cases import VECTORS

EXAMPLES = json.loads((VECTORS / "beyond.json").read_text("utf-8"))


def of(engine: str, sampler: str) -> pytest.MarkDecorator:
    chosen = [e for e in EXAMPLES if e["engine"].startswith(engine) and e["sampler"] == sampler]
    assert chosen
    return pytest.mark.parametrize("example", chosen, ids=lambda e: str(list(e["params"].values())))


def equal(chain: SortedChain, example: dict[str, Any]) -> None:
    row = np.array(example["logits"], np.float32)
    final, [order] = chain.ordered(row)
    assert order.tolist() == example["order"]
    np.testing.assert_allclose(softmax(final), example["probs"], atol=1e-6)


@of("llama.cpp", "typical_p")
def test_llama_cpps_typical_p(example: dict[str, Any]) -> None:
    asked = {"samplers": ["typ_p"], "typical_p": example["params"]["typical_p"]}
    equal(engines.llama_cpp(asked), example)  # type: ignore[arg-type]


@of("llama.cpp", "xtc")
def test_llama_cpps_xtc(example: dict[str, Any]) -> None:
    keys = ("xtc_probability", "xtc_threshold")
    chain = engines.llama_cpp({"samplers": ["xtc"], **{k: example["params"][k] for k in keys}})
    assert len(chain.coins) == (example["params"]["xtc_threshold"] <= 0.5)
    equal(chain.branch([example["acted"]] * len(chain.coins)), example)  # type: ignore[arg-type]


@of("llama.cpp", "mirostat_v2")
def test_llama_cpps_mirostat(example: dict[str, Any]) -> None:
    keys = ("mirostat", "mirostat_tau", "mirostat_eta")
    chain = engines.llama_cpp({"temperature": 1, **{k: example["params"][k] for k in keys}})
    state = {"mirostat": example["mu_before"]}
    bound: Any = chain.at(state)
    equal(bound, example)
    if example["step"] == 0:
        assert chain.init()["mirostat"] == pytest.approx(example["mu_before"], rel=1e-7)
    p = softmax(bound(np.array(example["logits"], np.float32)))[example["selected_id"]]
    after = chain.update(state, np.log(p))["mirostat"]
    assert np.float32(after) == np.float32(example["mu_after_reference"])


@of("transformers", "typical_p")
def test_transformers_typical_p(example: dict[str, Any]) -> None:
    row = np.array(example["logits"], np.float32)
    left = TypicalP(example["params"]["typical_p"], ties="all")(row)
    expected = [-np.inf if x is None else x for x in example["answer"]]
    np.testing.assert_array_equal(left, np.array(expected, np.float32))


@of("text-generation-webui", "xtc")
def test_the_authors_own_xtc(example: dict[str, Any]) -> None:
    row = np.array(example["logits"], np.float32)
    left = ExcludeTopChoices(example["params"]["xtc_threshold"])(row)
    # Of equal tokens at the edge its sort keeps another one than the lowest id.
    np.testing.assert_allclose(np.sort(softmax(left)), np.sort(example["probs"]), atol=1e-6)


def test_mirostat_switches_the_other_samplers_off() -> None:
    asked = {"mirostat": 2, "top_k": 5, "repeat_penalty": 1.5, "temperature": 0.5}
    chain = engines.llama_cpp({**asked, "logit_bias": {3: 1}})
    assert repr(chain) == "SortedChain(LogitBias({3: 1.0}), Temperature(0.5), Mirostat(5.0))"


def test_what_mirostat_or_samplers_leave_out_is_told() -> None:
    full = {"top_k": 5, "top_p": 0.9, "typical_p": 0.5, "xtc_probability": 0.1, "temperature": 1}
    full |= {"repeat_penalty": 1.1, "frequency_penalty": 1, "min_p": 0.1}
    told = engines.llama_cpp.translate(full | {"mirostat": 2})
    left_out = {note.key for note in told.notes if note.effect == "ignored"}
    assert left_out == full.keys() - {"temperature", "repeat_penalty"} | {"repetition_penalty"}
    assert str(engines.llama_cpp.translate({"top_k": 5, "samplers": ["top_p"]})) == (
        "top_k is ignored by llama_cpp: samplers does not name it.\n"
        "top_p is absent: llama_cpp uses 0.95."
    )
    assert "ignored" not in str(engines.llama_cpp.translate(full))


def test_what_koboldcpps_order_leaves_out_is_told() -> None:
    asked = {"top_k": 5, "min_p": 0.3, "temperature": 0.5, "rep_pen": 1.2, "top_a": 0.1}
    asked |= {"frequency_penalty": 0.4, "rep_pen_slope": 2.0}
    notes = engines.koboldcpp.translate(asked | {"sampler_order": [1]}).notes
    assert {note.key for note in notes if note.effect == "ignored"} == {
        "top_k", "min_p", "temperature", "repetition_penalty", "frequency_penalty", "rep_pen_slope",
    }  # fmt: skip
    assert not [note for note in notes if note.effect in ("default", "renamed")]
    assert "does not name" not in str(engines.koboldcpp.translate(asked))


def test_what_stands_beside_mirostat_is_told_for_keys_of_the_engines_own() -> None:
    asked = {"mirostat": 2, "samplers": ["top_k"], "repeat_last_n": 3}
    notes = engines.llama_cpp.translate(asked).notes
    ignored = [note.key for note in notes if note.effect == "ignored"]
    assert ignored == ["samplers", "repeat_last_n"]


def test_a_far_target_of_mirostat_keeps_all() -> None:
    x = np.linspace(-5, 5, 9000)
    for bits in (600.0, 5e3):
        assert survivors(x, Chain(MaxSurprise(bits))).tokens[0].size == 9000


def test_a_parameter_beyond_the_page_is_told_wherever_it_counts_as_absent() -> None:
    asked = {"xtc_probability": 0.5}
    [note] = translate(asked, "openrouter").notes
    assert (note.key, note.effect) == ("xtc_probability", "beyond")
    with pytest.raises(ParameterError, match="Unexpected fields in the request"):
        translate(asked, "transformers_serve")
    for name in engines.ENGINES.keys() - {"transformers_serve"}:
        every = translate(asked | {"temperature": 1.0}, name).notes
        notes = [n for n in every if n.key == "xtc_probability" and n.effect != "beside"]
        reads = "xtc_probability" in engines.get(name).reads
        assert [n.effect for n in notes] == (
            ["beyond"] if name == "openrouter" else [] if reads else ["ignored"]
        )
        if not reads:
            assert translate(asked, name).values["xtc_probability"] == 0


def test_a_chain_has_one_state_of_a_name_and_its_coins_have_sides() -> None:
    with pytest.raises(ParameterError, match="step must be the only mirostat of its chain, got"):
        Chain(Mirostat(5.0), Mirostat(1.0))
    with pytest.raises(ParameterError, match="acts must be one for each of 1 coins, got"):
        Chain(Xtc(0.5)).branch([])
    with pytest.raises(ParameterError, match="chain must be free of coins where candidates are"):
        SortedChain(Xtc(0.5, threshold=0.2), TopK(1)).ordered([2.0, 1.0])
    assert len(Chain(Xtc(1.0)).branches()) == 1
    assert Chain(Mirostat(5.0)).update({}, -1.0) == Chain(Mirostat(5.0)).update(
        {"mirostat": 10.0}, -1.0
    )
