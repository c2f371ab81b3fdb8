"""Token for token what the engines' own code drew, for a seed and a place in the sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import Context, ParameterError, SamplingParams, engines, sample

from engines import recorded
from engines.record import DRAWN, draws_for

# From these steps on limits of vLLM's Triton kernels show (`engines.vllm_triton` tells of them):
# it drops the less likely of the two tokens that min-p leaves, or keeps all ties at the cut.
ENDS = {("vllm_triton", 88): 7, ("vllm_triton", 170): 3, ("vllm_triton", 176): 0}


@pytest.mark.parametrize("engine", DRAWN)
def test_draws_are_the_engines(engine: str) -> None:
    recipe = engines.get(engine)
    drawn = recorded.about(engine)["draws"]
    count = 0
    for number, case, seed in draws_for(engine):
        output = list(case.output)
        for step, token in enumerate(drawn.get(str(number), [])[: ENDS.get((engine, number))]):
            got = recipe.draw(
                case.logits,
                case.params,
                context=Context(case.prompt, output),
                seed=seed,
                step=step,
            )
            assert got == token, (number, step)
            output.append(token)
            count += 1
    assert count >= 500


def test_a_batch_draws_like_its_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    context = Context(prompt=[[1, 2], [3], [4, 5]], output=[[1], [2, 3], []])
    for name in DRAWN:
        recipe = engines.get(name)
        params = SamplingParams(temperature=0.8, top_k=9, presence_penalty=0.3, seed=11)
        together = recipe.draw(rows, params, context=context)
        assert together.shape == (3,)
        for i in range(3):
            own = Context(context.prompt[i], context.output[i])
            assert recipe.draw(rows[i], params, context=own) == together[i]


def test_the_output_tells_the_step() -> None:
    row = np.zeros(500, np.float32)
    context = Context(prompt=[1], output=[2, 3, 4])
    for name in DRAWN:
        recipe = engines.get(name)
        told = recipe.draw(row, {}, context=context, seed=5)
        assert told == recipe.draw(row, {}, context=context, seed=5, step=3)


def test_openrouter_draws_as_sample_does() -> None:
    rows = np.random.default_rng(1).normal(size=300)
    params = SamplingParams(temperature=1.2, top_p=0.9, seed=3)
    expected = sample(rows, params, size=5).tokens
    for step in range(5):
        assert engines.openrouter.draw(rows, params, step=step) == expected[step]
    batch = np.zeros((6, 50))
    np.testing.assert_array_equal(
        engines.openrouter.draw(batch, {}, seed=3), sample(batch, seed=3).tokens
    )


def test_sglang_has_a_seed_of_its_own() -> None:
    row = np.zeros(500, np.float32)
    assert engines.sglang.draw(row, {}) == engines.sglang.draw(row, {}, seed=42)


@pytest.mark.parametrize(
    "name", [name for name, engine in engines.ENGINES.items() if engine.luck is None]
)
def test_others_say_that_they_cannot_be_repeated(name: str) -> None:
    recipe = engines.get(name)
    with pytest.raises(ParameterError) as error:
        recipe.draw([0.0, 1.0], {}, seed=1)
    assert str(error.value) == (
        f"engine must be one whose draws can be repeated, got {name!r}. {name}: {recipe.luck_note}."
    )


@pytest.mark.parametrize("seed", [None, -1])
def test_no_seed_is_an_error(seed: int | None) -> None:
    with pytest.raises(ParameterError, match="vllm takes a fresh one then"):
        engines.vllm.draw([0.0, 1.0], {}, seed=seed)


def test_bad_seeds_and_steps_are_errors() -> None:
    with pytest.raises(ParameterError, match=r"seed must be an integer in .*, got 1\.5\."):
        engines.vllm.draw([0.0, 1.0], {}, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"step must be an integer in \[0"):
        engines.vllm.draw([0.0, 1.0], {}, seed=1, step=-1)
    with pytest.raises(ParameterError, match=r"seed must be an integer in .*, got \[7, 8\]"):
        engines.vllm.draw([0.0, 1.0], {}, seed=np.array([7, 8]))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"min_p must be 0 where SGLang draws .*, got 0\.1\."):
        engines.sglang.draw([0.0, 1.0], {"min_p": 0.1})
    assert engines.sglang.draw([0.0, 1.0], {"min_p": 0.1, "temperature": 0}) == 1
    with pytest.raises(ParameterError, match="request must be SamplingParams or a request body"):
        engines.vllm.draw([0.0, 1.0], None, seed=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "odd", "seed"),
    [("vllm", "7", 7), ("vllm", 7.0, 7), ("vllm", True, 1), ("llama_cpp", 2.9, 2)],
)
def test_a_seed_is_read_as_the_server_reads_it(name: str, odd: Any, seed: int) -> None:
    engine, row = engines.get(name), np.zeros(5000)
    asked = {"top_k": 0, "min_p": 0}
    drawn = engine.draw(row, asked | {"seed": odd})
    assert drawn == engine.draw(row, asked, seed=seed) != engine.draw(row, asked, seed=seed + 1)


def test_ids_outside_the_vocabulary_are_the_engines_affair() -> None:
    bias = {"logit_bias": {"9": 100.0}}
    assert engines.llama_cpp.draw([0.0, 9.0], bias, seed=1) in (0, 1)
    with pytest.raises(ParameterError, match="vllm refuses the request"):
        engines.vllm.draw([0.0, 9.0], bias, seed=1)
