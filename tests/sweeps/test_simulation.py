"""`simulate` agrees with the exact metrics, and draws the tokens of `sample`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, datasets, engines, sample, simulate, sweep
from numpy.typing import NDArray
from scipy import stats

ROWS = np.random.default_rng(5).normal(scale=2, size=(40, 30)).astype(np.float32)
GRID = {"temperature": [0.0, 0.5, 1.0, 1.5], "top_p": [0.6, 1.0]}
NAMES = ["agreement", "entropy", "top_probability"]


@pytest.mark.parametrize("coupling", ["inverse", "gumbel"])
def test_it_agrees_with_the_exact_metrics(coupling: str) -> None:
    """48 intervals of 99.99 %: a false alarm in 0.5 % of seeds at most, and this one is fixed."""
    result = simulate(ROWS, GRID, NAMES, draws=200, seed=3, coupling=coupling, confidence=0.9999)
    exact = sweep(ROWS, GRID, NAMES)
    for name in NAMES:
        low, high = result.low[name] - 1e-9, result.high[name] + 1e-9
        assert ((low <= exact.values[name]) & (exact.values[name] <= high)).all(), name
        assert (result.high[name] - result.low[name] < 0.2).all()


@pytest.mark.parametrize("engine", ["openrouter", "llama_cpp"])
def test_it_agrees_with_the_exact_metrics_of_coins_and_states(engine: str) -> None:
    """24 intervals of 99.99 %: a false alarm in 0.3 % of seeds at most, and this one is fixed."""
    options: dict[str, Any] = {"engine": engine, "state": {"mirostat": 3.5}}
    grid: dict[str, Any] = {"xtc_probability": [0.0, 0.3, 1.0], "mirostat": [0, 2]}
    result = simulate(ROWS, grid, NAMES, draws=200, seed=6, confidence=0.9999, **options)
    exact = sweep(ROWS, grid, NAMES, **options)
    for name in NAMES:
        low, high = result.low[name] - 1e-9, result.high[name] + 1e-9
        assert ((low <= exact.values[name]) & (exact.values[name] <= high)).all(), name
    assert result.state == exact.state == {"mirostat": 3.5}


def test_intervals_hold_as_often_as_they_say() -> None:
    """Of 200 intervals of 90 % fewer than 165 hold in less than 1 of 1000 cases, for each."""
    rows = ROWS[:4]
    exact = sweep(rows, {"temperature": [1.0]}, ["entropy", "agreement"])
    hits = np.zeros(2, int)
    for seed in range(200):
        result = simulate(
            rows,
            {"temperature": [1.0]},
            ["entropy", "agreement"],
            draws=100,
            seed=seed,
            confidence=0.9,
        )
        for i, name in enumerate(result.values):
            value = exact.values[name][0]
            hits[i] += bool(result.low[name][0] <= value <= result.high[name][0])
    assert stats.binom.cdf(164, 200, 0.9) < 1e-3
    assert (hits >= 165).all(), hits


def test_the_tokens_are_those_of_sample() -> None:
    def tokens(ids: NDArray[Any]) -> NDArray[Any]:
        return ids

    for coupling in ("inverse", "gumbel"):
        result = simulate(ROWS, GRID, tokens, draws=4, seed=9, coupling=coupling, chunk=7)
        chain = engines.openrouter({"temperature": 1.5, "top_p": 0.6})
        draws = sample(ROWS, chain, seed=9, size=4, coupling=coupling)
        assert result.values["tokens"][3, 0] == draws.tokens.mean()
    assert result.seed == 9


def test_common_luck_makes_differences_surer() -> None:
    """Two points that differ little differ in few draws, far fewer than independent ones."""
    rows = datasets.load("smollm2").logits[:6]
    grid = {"top_p": [0.9, 0.92]}
    near = simulate(rows, grid, "agreement", draws=300, seed=1, coupling="gumbel")
    exact = sweep(rows, grid, "agreement").values["agreement"]
    error = np.diff(near.values["agreement"]) - np.diff(exact)
    width = near.high["agreement"][0] - near.low["agreement"][0]
    assert abs(error[0]) < width / 4


def test_the_result_is_labelled() -> None:
    result = simulate(ROWS, GRID, draws=5)
    assert result.seed is not None
    again = simulate(ROWS, GRID, draws=5, seed=result.seed)
    assert np.array_equal(np.asarray(result), np.asarray(again))
    header = result.to_csv().splitlines()[0]
    assert header == (
        "temperature,top_p,agreement,agreement_low,agreement_high,entropy,entropy_low,entropy_high"
    )
    assert result.to_dict()["seed"] == result.seed
    assert result.units == {"agreement": "probability", "entropy": "nats"}
    assert str(result.plan) == "8 points draw from each chain by itself"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"draws": 1}, "draws must be an integer >= 2, got 1"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1, got 1.0"),
        ({"confidence": 2.0}, r"confidence must be in \[0, 1\], got 2.0"),
        ({"coupling": "none"}, "coupling must be one of"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"metrics": "support"}, "metrics must be functions, or among 'agreement', 'entropy'"),
        ({"metrics": lambda tokens: 1.0}, "metrics, <lambda> must be a function from tokens"),
    ],
)
def test_mistakes(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        simulate(ROWS, GRID, **wrong)
