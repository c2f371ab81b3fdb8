from __future__ import annotations

import math
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Chain, Context, SamplingParams, engines
from logitlab.datasets import load

import reference


def test_the_normative_order() -> None:
    params = SamplingParams(
        top_a=0.1, min_p=0.1, top_p=0.9, top_k=9, temperature=0.5, presence_penalty=0.1,
        frequency_penalty=0.2, repetition_penalty=1.1, logit_bias={3: 1},
    )  # fmt: skip
    assert repr(engines.openrouter(params)) == (
        "Chain(LogitBias({3: 1.0}), RepetitionPenalty(1.1), FrequencyPenalty(0.2), "
        "PresencePenalty(0.1), Temperature(0.5), TopK(9), TopP(0.9), MinP(0.1), TopA(0.1))"
    )


def test_an_empty_request_changes_nothing() -> None:
    assert engines.openrouter(SamplingParams()) == Chain()
    neutral = SamplingParams().with_defaults()
    assert engines.openrouter(neutral) == Chain()
    x = load().logits
    assert engines.openrouter(neutral)(x).tobytes() == x.tobytes()


def distribution(row: list[float], tokens: list[int]) -> list[float]:
    """The whole normative chain of the request below, in plain floats."""
    row = reference.logit_bias(row, {260: 1.5})
    row = reference.repetition_penalty(row, 1.2, tokens)
    row = reference.frequency_penalty(row, 0.4, tokens)
    row = reference.presence_penalty(row, 0.3, tokens)
    row = reference.temperature(row, 0.8)
    truncations: list[tuple[Any, float]] = [
        (reference.top_k, 200), (reference.top_p, 0.93), (reference.min_p, 0.01),
        (reference.top_a, 0.15),
    ]  # fmt: skip
    for truncate, value in truncations:
        must, may = truncate(row, value)
        assert must == may  # no token of these rows is at the edge
        row = [x if i in must else -math.inf for i, x in enumerate(row)]
    return reference.softmax(row)


def test_all_parameters_against_the_reference_on_real_rows() -> None:
    rows = load()
    params = SamplingParams(
        logit_bias={260: 1.5}, repetition_penalty=1.2, frequency_penalty=0.4, presence_penalty=0.3,
        temperature=0.8, top_k=200, top_p=0.93, min_p=0.01, top_a=0.15,
    )  # fmt: skip
    logits = rows.logits.astype(np.float64)
    final = engines.openrouter(params)(logits, Context(prompt=rows.prompt_ids))
    for i, row in list(enumerate(logits))[::2]:
        expected = distribution(row.tolist(), rows.prompt_ids[i].tolist())
        np.testing.assert_allclose(ll.softmax(final[i]), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_tokens=5, stop=["x"], seed=3, logprobs=True, top_logprobs=5),
        SamplingParams(verbosity="medium", response_format={"type": "text"}),
        SamplingParams(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="none"),
    ],
)
def test_what_leaves_the_distribution_alone_may_be_present(params: SamplingParams) -> None:
    assert engines.openrouter(params) == Chain()
