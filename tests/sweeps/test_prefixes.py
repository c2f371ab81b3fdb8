"""What points share changes nothing: the same survivors as the dense chain, the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    Chain,
    Context,
    EpsilonCutoff,
    EtaCutoff,
    LogitBias,
    MaxSurprise,
    MinP,
    PLess,
    RepetitionPenalty,
    Step,
    Temperature,
    Tfs,
    TopA,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    TypicalP,
    Xtc,
    datasets,
    engines,
    metrics,
    sweep,
)
from logitlab.sweeps.programs import programs_of, why_dense
from numpy.typing import NDArray

import strategies

SHARED = ("entropy", "support_size", "top_probability", "perplexity", "mass_removed", "agreement")
KINDS = (
    *(Temperature, TopK, TopP, MinP, TopA, MaxSurprise),
    *(TopNSigma, Tfs, EpsilonCutoff, EtaCutoff, PLess, TopH),
)
PAIRS = ("mass_removed", "agreement")


def dense(chain: Chain, rows: NDArray[Any], context: Context | None, name: str) -> NDArray[Any]:
    raw = rows.astype(np.promote_types(rows.dtype, np.float32))
    final = chain(raw, context)
    measure = getattr(metrics, name)
    return np.asarray(measure(raw, final) if name in PAIRS else measure(final))


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[Any], list[Chain], Context]:
    rows = draw(strategies.logits(batch=(2,), max_size=12))
    size = rows.shape[1]
    head: list[Step] = []
    if draw(st.booleans()):
        head.append(LogitBias(draw(strategies.biases(size))))
    if draw(st.booleans()):
        head.append(draw(strategies.steps(RepetitionPenalty, size)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    options = [draw(strategies.options(kind)) for kind in kinds]
    values = [
        draw(st.lists(strategies.values(kind, size), min_size=1, max_size=3)) for kind in kinds
    ]
    picks = [draw(st.integers(0, len(v) - 1)) for v in values for _ in range(6)]
    chains = []
    for i in range(6):
        point_values = [values[k][picks[6 * k + i]] for k in range(len(kinds))]
        steps = (kind(v, **o) for kind, v, o in zip(kinds, point_values, options, strict=True))
        chains.append(Chain(*head, *steps))
    return rows, chains, draw(strategies.contexts((2,), size))


@given(cases())
def test_every_point_is_the_dense_chain(case: tuple[NDArray[Any], list[Chain], Context]) -> None:
    rows, chains, context = case
    result = sweep(
        rows,
        {"number": range(len(chains))},
        SHARED,
        engine=lambda point: chains[point["number"]],
        context=context,
        reduce="rows",
    )
    for i, chain in enumerate(chains):
        assert np.array_equal(
            result.values["support_size"][i], dense(chain, rows, context, "support_size")
        ), chain
        for name in SHARED:
            expected = dense(chain, rows, context, name)
            np.testing.assert_allclose(
                result.values[name][i], expected, rtol=1e-9, atol=1e-9, err_msg=f"{name} {chain}"
            )


def test_surprises_that_are_met_exactly() -> None:
    rng = np.random.default_rng(5)
    for size in (5, 40, 400):
        row = rng.normal(size=size) * 3
        for k in (0, size // 2):
            x = Chain(TopK(k))(row)
            below = x - x.max()
            bits = (np.log(np.cumsum(np.exp(below))[-1]) - below) / np.log(2)
            cuts = [Chain(TopK(k), MaxSurprise(b)) for b in bits[np.isfinite(bits)]]

            def chain_of(point: Any, cuts: list[Chain] = cuts) -> Chain:
                n: int = point["n"]
                return cuts[n]

            result = sweep(row[None], {"n": range(len(cuts))}, "support", engine=chain_of)
            expected = [metrics.support_size(cut(row)) for cut in cuts]
            assert result.values["support"].tolist() == expected


def test_equal_tokens_and_thresholds_that_are_met_exactly() -> None:
    """Few levels, a factor of two apart: nearly every cut is in a tie, or at equality."""
    rng = np.random.default_rng(8)
    rows = np.log(2) * rng.integers(-3, 1, size=(4, 9)).astype(np.float64)
    rows[0], rows[1, 3] = 0, -np.inf
    rows[2] = 7 + np.arange(9) * 2.0**-50  # what temperature 1.7 makes equal
    rows[3, 5:], rows[3, :5] = 0, -np.log(2)  # what a bias makes equal
    ties = ("lowest", "highest", "all")
    cuts: list[Step] = [
        *(TopK(k, t) for k in (1, 2, 4, 7) for t in ties),
        *(
            TopP(p, t, a)
            for p in (1 / 9, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1)
            for t in ties
            for a in ("drop", "keep")
        ),
        *(MinP(p) for p in (1 / 8, 1 / 4, 1 / 2, 1)),
        *(TopA(a) for a in (1 / 2, 1, 9 / 8, 9 / 4, 5)),
        *(MaxSurprise(b) for b in (0, 1, 1.5, 2, np.log2(3), 2.5, 3, np.log2(9), 4)),
    ]
    others: list[Step] = [Temperature(t) for t in (0.0, 0.5, 1.7, 1e-3)]
    heads: list[tuple[Step, ...]] = [
        (),
        (LogitBias({0: float(np.log(2)), 4: float(np.log(2)), 7: -1.0}),),
    ]
    chains = [Chain(cut) for cut in cuts]
    for _ in range(350):
        steps = (kind[rng.integers(len(kind))] for kind in (cuts, others, cuts, cuts))
        chains.append(Chain(*heads[rng.integers(2)], *steps))

    def engine(point: dict[str, int]) -> Chain:
        return chains[point["number"]]

    grid = {"number": range(len(chains))}
    result = sweep(rows, grid, SHARED, reduce="rows", engine=engine)
    # What is in doubt for one metric is dense for all, so this one is asked alone, too.
    alone = sweep(rows, grid, "agreement", reduce="rows", engine=engine)
    np.testing.assert_allclose(alone.values["agreement"], result.values["agreement"], rtol=1e-9)
    assert result.plan.dense == 0
    finals = np.stack([chain(rows) for chain in chains])
    for name in SHARED:
        measure = getattr(metrics, name)
        expected = measure(rows, finals) if name in PAIRS else measure(finals)
        np.testing.assert_allclose(
            result.values[name], expected, rtol=1e-9, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("size", [3, 10, 49, 100])
def test_quotients_are_compared_as_they_round(size: int) -> None:
    """The nucleus of equal tokens at k / n holds k tokens, wherever k / n rounds to."""
    grid = {"top_p": np.arange(size) / size}
    result = sweep(np.zeros(size), grid, "support")
    assert result.values["support"].tolist() == [1.0, *map(float, range(1, size))]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_real_rows_at_random_points(dtype: Any) -> None:
    rng = np.random.default_rng(3)
    rows = datasets.load("smollm2").logits[rng.integers(20, size=2)].astype(dtype)
    grid = {
        "temperature": [0.0, 1e-3, *rng.uniform(0, 2, 4), 1.0],
        "top_k": [0, int(rng.integers(1, 5000))],
        "top_p": [*rng.uniform(0, 1, 3), 1.0, 0.0],
        "min_p": [0.0, float(rng.uniform(0, 0.2)), 1e-20],
        "top_a": [0.0, float(rng.uniform(0, 1))],
    }
    result = sweep(rows, grid, SHARED, reduce="rows")
    assert result.plan.dense == 0
    for _ in range(8):
        at = tuple(int(rng.integers(len(values))) for values in grid.values())
        point = {key: values[i] for (key, values), i in zip(grid.items(), at, strict=True)}
        chain = engines.openrouter(point)
        support = dense(chain, rows, None, "support_size")
        assert np.array_equal(result.values["support_size"][at], support)
        for name in SHARED:
            expected = dense(chain, rows, None, name)
            np.testing.assert_allclose(result.values[name][at], expected, rtol=1e-8, atol=1e-9)


def test_penalties_are_ordered_anew() -> None:
    recording = datasets.load("smollm2")
    rows = recording.logits[:4]
    context = Context(prompt=[list(ids) for ids in recording.prompt_ids[:4]])
    grid = {
        "repetition_penalty": [1.0, 1.3],
        "presence_penalty": [0.0, 0.7],
        "temperature": [0.6, 1.3],
        "top_p": [0.8, 1.0],
    }
    result = sweep(rows, grid, SHARED, context=context, reduce="rows")
    for at in np.ndindex(*result.values["entropy"].shape[:-1]):
        point = {key: values[i] for (key, values), i in zip(grid.items(), at, strict=True)}
        chain = engines.openrouter(point)
        for name in SHARED:
            expected = dense(chain, rows, context, name)
            np.testing.assert_allclose(result.values[name][at], expected, rtol=1e-9, atol=1e-9)


def test_neutral_values_join_the_program_of_the_others() -> None:
    chains = [
        engines.openrouter({"temperature": t, "top_p": p, "min_p": m})
        for t in (0.5, 1.0)
        for p in (0.9, 1.0)
        for m in (0.0, 0.1)
    ]
    assert len(programs_of(chains, range(len(chains)))) == 1


def test_what_has_no_neutral_value_joins_nobody() -> None:
    chains = [Chain(TopP(0.9)), Chain(MaxSurprise(2.0), TopP(0.9)), Chain(MaxSurprise(3.0))]
    assert [program.body.points.tolist() for program in programs_of(chains, range(3))] == [
        [1, 2],
        [0],
    ]


def test_what_is_dense_says_why() -> None:
    assert why_dense(engines.vllm({"temperature": 0.5})).startswith("OneSortChain")
    assert why_dense(engines.mlx_lm({"temperature": 0.5})) == "mixed precision"
    assert why_dense(Chain(TopK(3, ties="introsort"))).startswith("TopK")
    assert why_dense(engines.llama_cpp({})).startswith("SortedChain")
    assert why_dense(Chain(TopP(0.5, sums="ascending"))).startswith("TopP")
    assert why_dense(Chain(MinP(0.5, space="probs"))).startswith("MinP")
    assert why_dense(Chain(TopK([1, 2]))) == "TopK has a value for each row"
    assert why_dense(Chain(TopK(3), LogitBias({1: 1.0}))).startswith("LogitBias")
    assert why_dense(Chain(TypicalP(0.5))) == "TypicalP keeps no prefix of a sorted row"
    assert why_dense(Chain(Xtc(0.5))) == "Xtc tosses a coin, so that the chain is a mixture"
    assert why_dense(Chain(TypicalP(1.0), Xtc(0.0), TopP(0.5))) == ""
    assert why_dense(Chain(TopK(9), MaxSurprise(3.0), MinP(0.1))) == ""
    assert why_dense(Chain(Temperature(0.5), TopK(3), TopP(0.5, at_p="keep"))) == ""
