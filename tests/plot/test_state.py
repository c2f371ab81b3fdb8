"""A state over a text: what is drawn is what the generation holds."""

from __future__ import annotations

import math
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot
from matplotlib.axes import Axes

MODEL = ll.models.NGram.bundled()


def curves(ax: Axes) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(line.get_ydata()) for line in ax.lines]


def test_mu_and_the_surprise_of_each_token_are_drawn() -> None:
    request = {"mirostat": 2, "mirostat_tau": 3.0, "logprobs": True}
    how: dict[str, Any] = {"seed": 3, "max_tokens": 40, "logprobs_mode": "processed"}
    answer = ll.generate(MODEL, "Once upon", request, **how)
    ax = plot.state(answer)
    dots, mu, mean, tau = curves(ax)
    assert answer.logprobs is not None
    assert answer.states is not None
    bits = -answer.logprobs.logprobs / math.log(2)
    np.testing.assert_allclose(dots, bits, rtol=1e-9)
    np.testing.assert_array_equal(mu, answer.states["mirostat"][:-1])
    np.testing.assert_allclose(mean, [bits[: i + 1].mean() for i in range(40)], rtol=1e-9)
    assert set(tau) == {3.0}
    assert ax.get_ylabel() == "surprise, bits"
    assert ax.get_title(loc="left") == (
        f"mirostat: the mean surprise of 40 tokens is {bits.mean():.2f}, the target τ is 3"
    )


def test_the_aim_of_adaptive_p_is_drawn() -> None:
    answer = ll.generate(
        MODEL, "Once", {"adaptive_target": 0.3, "min_p": 0.05}, seed=3, max_tokens=20, trace=True
    )
    ax = plot.state(answer)
    dots, aim, _, target = curves(ax)
    assert answer.traces is not None
    for place, (token, trace) in enumerate(zip(answer.tokens, answer.traces, strict=True)):
        assert aim[place] == pytest.approx(trace.chain[-1].value)
        assert dots[place] == pytest.approx(ll.softmax(trace.logits[-2])[token])
    assert set(target) == {0.3}


def test_one_step_of_several_is_chosen() -> None:
    chain = ll.Chain(ll.Mirostat(3.0), ll.AdaptiveP(0.3))
    answer = ll.generate(MODEL, "Once", chain, seed=3, max_tokens=5)
    assert plot.state(answer).get_ylabel() == "surprise, bits"
    assert plot.state(answer, step="adaptive_p").get_ylabel() == "probability"
    with pytest.raises(ParameterError, match="step must be one of 'mirostat', 'adaptive_p', got"):
        plot.state(answer, step="xtc")


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ParameterError, match="answer must be a Generation"):
        plot.state("Once")  # type: ignore[arg-type]
    plain = ll.generate(MODEL, "Once", seed=1, max_tokens=2)
    with pytest.raises(ParameterError, match="answer must be of a step with a state, and of tok"):
        plot.state(plain)
