from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import Context, ParameterError, ThinkingBudget, greedy, thinking_token_budget

from sampler_examples import close, context_of, examples, row_of

ROW = [2.0, 1.0, 0.5, 0.0, -1.0]

# Answers of vllm/v1/sample/thinking_budget_state.py, 0.32.0, run one token after another: which
# token of the end it forces after each beginning of the output. Three of four texts obey.
RECORDED = json.loads((Path(__file__).parent / "vllm_thinking.json").read_text())


@pytest.mark.parametrize("case", RECORDED)
def test_forces_what_vllm_forces(case: dict[str, Any]) -> None:
    step = ThinkingBudget(case["budget"], case["start"], case["end"])
    for n, place in enumerate(case["forced"]):
        result = step(ROW, Context(case["prompt"], case["output"][:n]))
        left = np.flatnonzero(result > -np.inf).tolist()
        assert left == (list(range(5)) if place is None else [case["end"][place]])


@examples("sglang", "thinking_budget (start 1, end 2, newline 3)", count=4)
def test_forces_what_sglang_forces(example: dict[str, Any]) -> None:
    step = ThinkingBudget(example["params"]["thinking_budget"], [1], [2], newline=3, form="zero")
    close(step(row_of(example), context_of(example)), example)


def test_a_thought_ends_after_its_budget() -> None:
    step = ThinkingBudget(3, [3], [4, 0])
    text: list[int] = [1, 3]
    for _ in range(8):
        text.append(int(step(ROW, Context(output=text)).argmax()))
    assert text == [1, 3, 0, 0, 0, 4, 0, 0, 0, 0]


def test_a_budget_for_each_row() -> None:
    context = Context(prompt=[[1], [1], [0]])
    result = ThinkingBudget([0, -1, 0], [1], [2])([ROW] * 3, context)
    assert (result > -np.inf).sum(axis=-1).tolist() == [1, 5, 5]


def test_nothing_is_forced_without_markers() -> None:
    assert ThinkingBudget(0).is_neutral
    assert ThinkingBudget(0)(ROW).tolist() == ROW
    assert ThinkingBudget(-1, [1], [2])(ROW).tolist() == ROW


def test_a_forced_token_that_was_removed() -> None:
    row, context = [0.0, 1.0, -np.inf], Context(prompt=[1])
    with pytest.raises(ParameterError) as error:
        thinking_token_budget(row, 0, context, start=[1], end=[2])
    assert str(error.value).startswith(
        "thinking_token_budget must be free to force its token, got token 2, which was removed."
    )
    lifted = ThinkingBudget(0, [1], [2], form="lifted")(np.array(row, np.float32), context)
    assert lifted.tolist() == [0.0, 1.0, 1e9]
    half = ThinkingBudget(0, [1], [2], form="lifted")(np.array(row, np.float16), context)
    assert np.isfinite(half).all()


def test_it_needs_a_context_and_tokens() -> None:
    with pytest.raises(ParameterError, match="context must be a Context for thinking_token_budget"):
        ThinkingBudget(0, [1], [2])(ROW)
    with pytest.raises(ParameterError, match=r"^end must be of token ids in \[0, 4\], got 5"):
        ThinkingBudget(0, [1], [5])(ROW, Context())


def test_requests_reach_it_under_openrouter() -> None:
    request = {"thinking_token_budget": 1, "thinking_markers": [[1], 4]}
    assert greedy(ROW, request, context=Context([1], [0])) == 4
    assert greedy(ROW, request, context=Context([1])) == 0
