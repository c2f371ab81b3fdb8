"""The same request on several engines: distributions, distances, refusals, partings."""

from __future__ import annotations

import pickle
from itertools import combinations, permutations
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Context, ParameterError, SamplingParams, compare_engines, engines
from logitlab.datasets import load

ROW = np.array([2.0, 1.0, 0.5, 0.0, -1.0], np.float32)


def parting(request: Any, a: str, b: str, logits: Any = ROW, context: Any = None) -> list[str]:
    compared = compare_engines(logits, request, engines=[a, b], context=context)
    return [str(stage) for stage in compared.partings(a, b)]


def test_the_numbers_are_those_of_the_chains() -> None:
    rows = load()
    logits = rows.logits[:5]
    params = SamplingParams(temperature=1.5, top_p=0.9, repetition_penalty=1.2)
    context = Context(prompt=rows.prompt_ids[:5])
    compared = compare_engines(logits, params, context=context)
    assert compared.engines == engines.MAIN
    count = len(engines.MAIN)
    assert compared.logits.shape == (count, 5, 49152)
    assert compared.kept.shape == compared.entropy.shape == (count, 5)
    assert compared.total_variation.shape == (count, count, 5)
    for i, name in enumerate(compared.engines):
        final = engines.get(name)(params)(logits, context)
        np.testing.assert_array_equal(compared.logits[i], final)
        np.testing.assert_array_equal(compared.distribution(name), ll.softmax(final))
        np.testing.assert_allclose(compared.entropy[i], ll.entropy(final))
    p, q = compared.distribution("vllm"), compared.distribution("llama_cpp")
    np.testing.assert_allclose(
        compared.distance("vllm", "llama_cpp"), np.abs(p - q).sum(axis=-1) / 2, atol=1e-12
    )


def test_groups_hold_equal_distributions() -> None:
    compared = compare_engines(ROW, {"temperature": 2, "top_p": 0.8, "top_k": -1, "min_p": 0})
    assert compared.groups == (
        ("openai", "vllm", "sglang", "ollama", "aphrodite", "exllamav3"),
        ("llama_cpp", "mlx_lm", "koboldcpp"),
    )


def test_who_refuses_is_told_and_the_others_go_on() -> None:
    compared = compare_engines(ROW, {"temperature": 2.5, "top_p": 0})
    assert list(compared.refused) == ["openrouter", "openai", "vllm", "sglang", "aphrodite", "tgi"]
    assert compared.refused["openrouter"] == (
        "temperature must be in [0, 2], got 2.5. "
        "openrouter refuses the request: It documents in [0, 2]."
    )
    assert compared.refused["sglang"] == (
        "top_p must be in (0, 1], got 0.0. sglang refuses the request with these words."
    )
    answered = "transformers", "llama_cpp", "ollama", "mlx_lm", "koboldcpp", "exllamav3", "textgen"
    assert compared.engines == answered
    with pytest.raises(ParameterError) as error:
        compared.distribution("vllm")
    assert str(error.value) == (
        f"engine must be one of {', '.join(answered)}, got 'vllm'. "
        "temperature must be in [0, 2], got 2.5. vllm refuses the request with these words."
    )


def test_a_row_without_tokens_counts_as_refused() -> None:
    compared = compare_engines(ROW, {"top_a": 2}, engines=["koboldcpp", "aphrodite"])
    assert compared.engines == ("koboldcpp",)
    assert "no token is left" in compared.refused["aphrodite"]


def test_all_may_refuse() -> None:
    compared = compare_engines(ROW, {"top_p": 0}, engines=["vllm", "sglang"])
    assert compared.engines == ()
    assert compared.logits.shape == (0, 5)
    assert compared.groups == ()
    assert compared.total_variation.shape == (0, 0)


NEUTRAL = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
PARTINGS: list[tuple[dict[str, Any], str, str, list[str]]] = [
    (
        {"temperature": 2, "top_p": 0.8, "top_k": 0, "min_p": 0},
        "vllm", "llama_cpp",
        ["they differ at temperature: llama_cpp applies it last"],
    ),
    (
        {"temperature": 2, "top_p": 0.8, "top_k": 0, "min_p": 0},
        "llama_cpp", "vllm",
        ["they differ at temperature: llama_cpp applies it last"],
    ),
    (
        {},
        "vllm", "mlx_lm",
        ["they differ at temperature: only mlx_lm applies it, 0.0 by default"],
    ),
    (
        NEUTRAL | {"presence_penalty": 1},
        "openrouter", "vllm",
        ["they differ at presence_penalty: openrouter counts prompt and output, "
         "vllm counts the output alone"],
    ),
    (
        {"top_a": 0.5},
        "openrouter", "vllm",
        ["they differ at top_a: only openrouter applies it, 0.5"],
    ),
    (
        {"presence_penalty": 1, "repetition_penalty": 2},
        "vllm", "aphrodite",
        ["they differ at repetition_penalty: aphrodite applies it once more",
         "they differ at presence_penalty: aphrodite applies it once more"],
    ),
    (
        {"temperature": 1, "top_p": 0.9},
        "openrouter", "vllm",
        [],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "a", "b", "expected"), PARTINGS)
def test_the_stage_at_which_they_part(
    request_: dict[str, Any], a: str, b: str, expected: list[str]
) -> None:
    assert parting(request_, a, b, context=Context([0], [1])) == expected


def test_ties_part_engines_too() -> None:
    tied = np.array([3.0, 1.0, 1.0, 1.0, 0.0, -1.0])
    assert parting({"top_k": 2}, "vllm", "vllm_triton", tied) == [
        "they differ at top_k: vllm keeps all equal tokens, "
        "vllm_triton keeps the lowest ids of equal tokens"
    ]
    row = np.ones(4)
    (stage, *_) = parting(NEUTRAL | {"top_k": 2}, "vllm", "llama_cpp", row)
    assert stage == (
        "they differ at top_k: vllm keeps all equal tokens, "
        "llama_cpp keeps those of equal tokens that its sort leaves in front"
    )
    flat = np.zeros(4)
    stages = parting(NEUTRAL | {"top_p": 0.5}, "openrouter", "llama_cpp", flat)
    assert stages == ["they differ at ties: equal tokens stand in another order"]
    five = np.arange(20) % 5
    request = NEUTRAL | {"top_k": 2, "top_p": 0.3}
    assert parting(request, "vllm", "transformers", five.astype(np.float32)) == [
        "they differ at ties: equal tokens stand in another order"
    ]
    (stage, *_) = parting({"top_p": 0.3}, "openrouter", "sglang", np.zeros(20))
    assert stage == (
        "they differ at top_p: openrouter keeps the lowest ids of equal tokens and drops a token "
        "if those before it hold exactly top_p, sglang keeps those of equal tokens that introsort "
        "favours and keeps a token if those before it hold exactly top_p"
    )


def test_tiny_temperatures_part_engines() -> None:
    close = np.array([0.02, 0.0, -0.01], np.float32)
    assert parting({"temperature": 0.001}, "vllm", "sglang", close) == [
        "they differ at temperature: vllm uses 0.01, sglang 0.001"
    ]


def test_partings_lead_over_programs_that_leave_no_token() -> None:
    row = np.array([2.0, 1.9, 0.5, 0.0, -1.0])
    request = {"temperature": 2, "top_a": 2.45}
    compared = compare_engines(row, request, engines=["koboldcpp", "aphrodite"])
    assert compared.distance("koboldcpp", "aphrodite") > 0.1
    for a, b in (compared.engines, compared.engines[::-1]):
        stages = compared.partings(a, b)
        assert stages
        assert sum(stage.distance for stage in stages) >= float(compared.distance(a, b)) - 1e-6


def test_what_one_engine_cannot_do_does_not_stop_the_others() -> None:
    for request in (
        {"logit_bias": {"7": 1.0}},
        {"repetition_penalty": -1},
        {"repeat_last_n": -1},
        {"temperature": 1e39},
        {"repetition_penalty": 1e39},
    ):
        compared = compare_engines(ROW, request, context=Context([0], [1]))
        assert len(compared.engines) + len(compared.refused) == len(engines.MAIN)
        assert compared.engines
        assert compared.refused


def test_coins_are_in_the_air_or_fall_on_one_side() -> None:
    request = {"xtc_probability": 0.25, "xtc_threshold": 0.1, "temperature": 1, "top_p": 1}
    request |= {"top_k": 0, "min_p": 0}
    names = ["openrouter", "llama_cpp", "textgen", "tabbyapi", "vllm"]
    sides = [compare_engines(ROW, request, coins=fall, engines=names) for fall in (False, True)]
    mixed = compare_engines(ROW, request, engines=names)
    without, acted = (side.probs for side in sides)
    np.testing.assert_allclose(mixed.probs, 0.75 * without + 0.25 * acted, atol=1e-6)
    assert [bool(chain.coins) for chain in mixed.chains.values()] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert not any(chain.coins for side in sides for chain in side.chains.values())
    # exllamav3 averages, whatever falls, and vLLM has none.
    for i in (3, 4):
        np.testing.assert_array_equal(without[i], acted[i])
    np.testing.assert_allclose(mixed.probs[0], mixed.probs[3], atol=1e-6)
    with pytest.raises(ParameterError, match="coins must be"):
        compare_engines(ROW, request, coins="heads")  # type: ignore[arg-type]


def test_float16_is_compared_in_float32() -> None:
    row = np.array([2.1, 1.3, 0.57, 0.03, -1.2] * 3, np.float16)
    names = ["vllm", "mlx_lm", "llama_cpp"]
    request = {"temperature": 0.7, "min_p": 0, "top_p": 1, "top_k": 0}
    compared = compare_engines(row, request, engines=names)
    assert compared.logits.dtype == np.float32
    assert compared.groups == (tuple(names),)


def test_a_comparison_travels() -> None:
    compared = compare_engines(ROW, {"top_p": 0.5})
    again = pickle.loads(pickle.dumps(compared))
    np.testing.assert_array_equal(again.logits, compared.logits)
    assert again.chains == compared.chains


def test_one_engine_may_be_named() -> None:
    assert compare_engines(ROW, {}, engines="vllm").engines == ("vllm",)
    assert compare_engines(ROW, {}, engines=engines.vllm).engines == ("vllm",)


def test_sglang_is_joint() -> None:
    row = np.log([0.4, 0.3, 0.2, 0.1])
    assert parting({"top_k": 2, "top_p": 0.5}, "vllm", "sglang", row)[0] == (
        "they differ at top_k: sglang applies it last"
    )


@given(st.data())
def test_partings_lead_from_one_engine_to_the_other(data: st.DataObject) -> None:
    """Equal engines have none; others have at least one, and the distances bound the whole."""
    values = {
        "temperature": st.sampled_from([0.005, 0.5, 1, 2]),
        "top_k": st.integers(1, 4),
        "top_p": st.sampled_from([0.3, 0.5, 0.8]),
        "min_p": st.sampled_from([0.1, 0.5]),
        "repetition_penalty": st.sampled_from([0.8, 1.5]),
        "frequency_penalty": st.sampled_from([-0.5, 1.0]),
        "presence_penalty": st.sampled_from([-0.5, 1.0]),
        "logit_bias": st.just({"1": 2.5}),
        "top_a": st.sampled_from([0.2, 0.9]),
    }
    request = data.draw(st.fixed_dictionaries({}, optional=values))
    row = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 1.5, -2.0]), min_size=6,
                                      max_size=6)))  # fmt: skip
    context = Context(prompt=[1, 2], output=data.draw(st.lists(st.integers(0, 5), max_size=4)))
    compared = compare_engines(row, request, context=context, engines=engines.ENGINES)
    assert len(compared.engines) >= 15
    names = data.draw(st.permutations(compared.engines))[:4]
    for a, b in combinations(names, 2):
        stages = compared.partings(a, b)
        distance = float(compared.distance(a, b))
        if distance > 1e-5:
            assert stages
        assert sum(stage.distance for stage in stages) >= distance - 1e-4
        for stage in stages:
            assert 1e-6 < stage.distance <= 1
            assert stage.reason


@given(st.data())
def test_any_order_of_samplers_can_be_compared(data: st.DataObject) -> None:
    names = ["penalties", "top_k", "top_p", "min_p", "temperature"]
    samplers = data.draw(st.lists(st.sampled_from(names), max_size=9))
    request = {
        "samplers": samplers, "temperature": 0.5, "top_k": 4, "top_p": 0.7, "min_p": 0.1,
        "presence_penalty": 1, "frequency_penalty": 0.5, "repetition_penalty": 1.3,
    }  # fmt: skip
    row = np.array([2.0, 1.5, 1.0, 0.5, 0.25, 0.0])
    compared = compare_engines(
        row, request, context=Context([1], [2, 2]), engines=["llama_cpp", "sglang", "aphrodite"]
    )
    for a, b in permutations(compared.engines, 2):
        stages = compared.partings(a, b)
        assert sum(stage.distance for stage in stages) >= float(compared.distance(a, b)) - 1e-4


def test_mistakes_of_the_caller_are_errors() -> None:
    with pytest.raises(ParameterError, match="engine must be one of"):
        compare_engines(ROW, {}, engines=["vllm", "nobody"])
    with pytest.raises(ParameterError, match="engines must be different names, one at least"):
        compare_engines(ROW, {}, engines=["vllm", "vllm"])
    with pytest.raises(ParameterError, match="engines must be different names, one at least"):
        compare_engines(ROW, {}, engines=[])
    with pytest.raises(ParameterError, match="temperature must be a finite number, got 'hot'"):
        compare_engines(ROW, {"temperature": "hot"})
    with pytest.raises(ParameterError, match="context must be a Context for presence_penalty"):
        compare_engines(ROW, {"presence_penalty": 1})
    with pytest.raises(ParameterError, match="logits must be free of NaN"):
        compare_engines([np.nan, 1.0], {})
    with pytest.raises(ParameterError, match="request must be SamplingParams or a request body"):
        compare_engines(ROW, None)  # type: ignore[arg-type]


def test_it_shows_itself() -> None:
    compared = compare_engines(ROW, {"top_p": 0}, engines=["vllm", "openrouter"])
    assert repr(compared) == "<Comparison of openrouter; refused: 1>"


def test_what_no_engine_is_asked_for_is_an_error_after_their_own_words() -> None:
    several = {"n": 3, "temperature": 0}
    assert "greedy sampling" in compare_engines(ROW, several, engines=["vllm"]).refused["vllm"]
    with pytest.raises(ParameterError, match=r"^n must be 1 where single tokens are sampled"):
        compare_engines(ROW, several, engines=["vllm", "llama_cpp"])
    with pytest.raises(ParameterError, match="n must be 1 when using greedy sampling"):
        engines.vllm(several)
    assert engines.vllm.translate({"n": 3}).notes == ()
    for function in (compare_engines, lambda row, request: engines.vllm.translate(request)):
        with pytest.raises(ParameterError, match=r"^tool_choice must be 'none' or 'auto'"):
            function(ROW, {"tool_choice": "required"})
