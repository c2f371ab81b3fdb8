"""`sweep`: what it accepts, what it returns, what it says of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import (
    Chain,
    Context,
    Mirostat,
    ParameterError,
    SamplingParams,
    Temperature,
    TopK,
    TopP,
    distribution,
    engines,
    entropy,
    kl_divergence,
    metrics,
    sample,
    simulate,
    support_size,
    sweep,
)
from logitlab.datasets import load
from logitlab.engines.resolve import resolve
from logitlab.models import NGram, Recorded, Recorder
from logitlab.sweeps import Histogram
from logitlab.sweeps.chunks import Rows, gaps
from logitlab.vocabulary import Vocabulary
from numpy.typing import NDArray

from sweeps.workers import spread

ROWS = np.random.default_rng(5).normal(scale=3, size=(9, 40)).astype(np.float32)
GRID = {"temperature": [0.0, 0.7, 1.3], "top_p": [0.4, 1.0]}


def dense(engine: str, name: str, rows: NDArray[Any] = ROWS, **fixed: Any) -> NDArray[Any]:
    measure = getattr(metrics, name)
    table = [
        [
            measure(engines.get(engine)({"temperature": t, "top_p": p} | fixed)(rows)).mean()
            for p in GRID["top_p"]
        ]
        for t in GRID["temperature"]
    ]
    return np.array(table)


@pytest.mark.parametrize(
    "engine", ["openrouter", "openai", "vllm", "sglang", "llama_cpp", "mlx_lm"]
)
def test_every_engine(engine: str) -> None:
    result = sweep(ROWS, GRID, [entropy, support_size], engine=engine)
    for name in ("entropy", "support_size"):
        np.testing.assert_allclose(result.values[name], dense(engine, name), rtol=1e-12)
    is_shared = engine in ("openrouter", "openai")
    assert (result.plan.shared, result.plan.dense) == ((6, 0) if is_shared else (0, 6))
    assert ("share one order" in str(result.plan)) == is_shared


def test_an_engine_is_an_axis_like_any_other() -> None:
    result = sweep(ROWS, {"engine": ["openrouter", "vllm"], **GRID}, "entropy")
    assert result.axes["engine"] == ["openrouter", "vllm"]
    for i, engine in enumerate(["openrouter", "vllm"]):
        np.testing.assert_allclose(
            result.values["entropy"][i], dense(engine, "entropy"), rtol=1e-12
        )
    assert "3" in str(result.plan) or result.plan.shared == 6


def test_a_chain_of_ones_own() -> None:
    result = sweep(
        ROWS,
        {"k": [1, 5], "p": [0.5, 1.0]},
        "support",
        engine=lambda point: Chain(TopP(point["p"]), TopK(point["k"], ties="all")),
    )
    assert result.plan.shared == 4
    expected = [
        [support_size(Chain(TopP(p), TopK(k))(ROWS)).mean() for p in (0.5, 1.0)] for k in (1, 5)
    ]
    assert result.values["support"].tolist() == expected


def test_metrics_of_ones_own_and_of_two_distributions() -> None:
    names = ["spread", "kl_divergence", "total_variation", "js_divergence", "agreement"]
    result = sweep(ROWS, GRID, [spread, kl_divergence, *names[2:]])
    assert list(result.values) == names
    final = engines.openrouter({"temperature": 0.7, "top_p": 0.4})(ROWS)
    at = result.at(temperature=0.7, top_p=0.4)
    assert at["kl_divergence"] == pytest.approx(metrics.kl_divergence(final, ROWS).mean())
    assert at["total_variation"] == pytest.approx(metrics.total_variation(final, ROWS).mean())
    assert result.units["kl_divergence"] == "nats"
    reason = (
        "6 points run the dense chain: spread, kl_divergence, total_variation, js_divergence: of"
    )
    assert str(result.plan).startswith(reason)


def test_parameters_that_run_together() -> None:
    result = sweep(ROWS, {"temperature": [0.5, 1.0], "top_k": [3, 4]}, "support", zipped=True)
    assert result.values["support"].tolist() == [3.0, 4.0]
    assert (list(result.axes), result.zipped["top_k"].tolist()) == (["temperature"], [3, 4])
    assert result.to_csv() == "temperature,top_k,support\n0.5,3,3.0\n1.0,4,4.0\n"


def test_a_fixed_request_and_a_context() -> None:
    context = Context([[i] for i in range(9)])
    result = sweep(
        ROWS,
        {"top_p": [0.5, 0.9]},
        "entropy",
        context=context,
        request={"frequency_penalty": 1.5, "temperature": 0.8},
    )
    for i, p in enumerate([0.5, 0.9]):
        chain = engines.openrouter({"frequency_penalty": 1.5, "temperature": 0.8, "top_p": p})
        assert result.values["entropy"][i] == pytest.approx(entropy(chain(ROWS, context)).mean())
    pieces = [(ROWS[i:j], Context([[k] for k in range(i, j)])) for i, j in ((0, 4), (4, 9))]
    of_stream = sweep(
        iter(pieces),
        {"top_p": [0.5, 0.9]},
        "entropy",
        request={"frequency_penalty": 1.5, "temperature": 0.8},
    )
    assert np.array_equal(of_stream.values["entropy"], result.values["entropy"])


def test_a_bias_is_an_axis() -> None:
    result = sweep(ROWS, {"logit_bias": [{}, {3: 100.0}]}, "top_probability")
    assert result.values["top_probability"][1] > 0.99
    assert result.axes["logit_bias"] == [{}, {3: 100.0}]
    assert "{3: 100.0}" in result.to_csv()


def test_rows_of_any_kind_are_the_same_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    expected = np.asarray(sweep(ROWS, GRID)).tobytes()
    memmap = np.load(tmp_path / "rows.npy", mmap_mode="r")
    vocabulary = Vocabulary([bytes([i]) for i in range(40)])
    for rows in (
        tmp_path / "rows.npy",
        str(tmp_path / "rows.npy"),
        memmap,
        ROWS.reshape(3, 3, 40),
        ROWS.tolist() and ROWS.astype(">f4"),
        iter([ROWS[:2], ROWS[2:]]),
        Recorded(tmp_path / "rows.npy", vocabulary),
    ):
        assert np.asarray(sweep(rows, GRID, chunk=4)).tobytes() == expected
    np.save(tmp_path / "turned.npy", ROWS.astype(">f4"))
    assert np.asarray(sweep(tmp_path / "turned.npy", GRID)).tobytes() == expected


def test_bundled_logits() -> None:
    rows = load("smollm2")
    assert np.array_equal(np.asarray(sweep(rows, GRID)), np.asarray(sweep(rows.logits, GRID)))


def test_a_recorded_run(tmp_path: Path) -> None:
    model = Recorder(NGram.bundled(), tmp_path / "run.npy")
    state = model.start()
    rows = [model.advance([state], [[i]])[0] for i in (5, 6, 7)]
    model.close()
    result = sweep(Recorded.open(tmp_path / "run.npy"), GRID, "entropy", reduce="rows")
    expected = sweep(np.array(rows), GRID, "entropy", reduce="rows")
    assert np.array_equal(result.values["entropy"], expected.values["entropy"])


def test_part_of_a_file_travels_as_its_place(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    memmap = np.load(tmp_path / "rows.npy", mmap_mode="r")
    part = Rows(memmap[2:7], None)
    assert part.file is not None
    assert np.array_equal(part.file.read(1, 3), ROWS[3:5])
    assert Rows(memmap[:, :5], None).file is None
    assert Rows(np.asarray(memmap) + 0, None).file is None


def test_spans_between_those_that_are_done() -> None:
    assert gaps([], 5) == [(0, 5)]
    assert gaps([(3, 4), (0, 2)], 5) == [(2, 3), (4, 5)]
    assert gaps([(0, 5)], 5) == []


def test_the_result_is_labelled() -> None:
    result = sweep(ROWS, GRID, ["entropy", "support"])
    assert repr(result) == "<Sweep of 9 rows: entropy, support over 3 temperature x 2 top_p>"
    assert result.units == {"entropy": "nats", "support": "tokens"}
    assert np.asarray(result).shape == (2, 3, 2)
    report = json.loads(json.dumps(result.to_dict()))
    assert report["axes"] == {"temperature": [0.0, 0.7, 1.3], "top_p": [0.4, 1.0]}
    assert report["values"]["support"] == result.values["support"].tolist()
    assert report["rows"] == 9
    with pytest.raises(ParameterError, match=r"temperature must be a value of the axis, got 0.8"):
        result.at(temperature=0.8)
    with pytest.raises(ParameterError, match="point must be of axes among temperature, top_p"):
        result.at(top_k=1)
    with pytest.raises(ValueError, match="copies"):
        np.asarray(result, copy=False)


def test_tables(tmp_path: Path) -> None:
    result = sweep(ROWS, GRID, ["entropy", "support"])
    text = result.to_csv(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == text
    pandas = pytest.importorskip("pandas")
    frame = result.to_pandas()
    # As text first: pandas before 3 reads the last digit of a float otherwise.
    assert frame.equals(pandas.read_csv(tmp_path / "out.csv", dtype=str).astype(float))
    assert frame.columns.tolist() == ["temperature", "top_p", "entropy", "support"]
    pytest.importorskip("xarray")
    data = result.to_xarray()
    assert float(data.entropy.sel(temperature=0.7, top_p=1.0)) == result.values["entropy"][1, 1]
    assert data.entropy.attrs == {"units": "nats"}
    zipped = sweep(ROWS, {"temperature": [0.5, 1.0], "top_k": [3, 4]}, "support", zipped=True)
    assert zipped.to_xarray().top_k.values.tolist() == [3, 4]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"grid": {}}, "grid must be a map from parameters to sequences of values, got {}. Write"),
    ({"grid": {"heat": [1]}}, "grid must be a map whose keys are among logit_bias|temperature"),
    (
        {"grid": {"row": [1]}, "reduce": "rows", "engine": lambda point: Chain()},
        "grid must be free of 'row', which is an axis of the rows",
    ),
    ({"grid": {3: [1]}}, "grid must be a map whose keys are names of parameters, got 3"),
    ({"grid": {"temperature": []}}, "temperature must be a sequence of at least one value"),
    ({"grid": {"temperature": 0.5}}, "temperature must be a sequence of at .* got 0.5"),
    ({"grid": {"top_p": [0.5, 1.3]}}, r"top_p must be in \[0, 1\], got 1.3"),
    ({"grid": {"top_p": ["much"]}}, "top_p must be a number in .*, got 'much'"),
    (
        {"grid": {"top_p": [0.5], "top_k": [1, 2]}, "zipped": True},
        "top_k must be as many values as top_p has, 1, where they are zipped, got 2",
    ),
    ({"grid": {"temperature": [0.0]}, "engine": "transformers"}, "temperature must be a strictly"),
    ({"grid": {"engine": ["ours"]}}, "engine must be one of 'openrouter'"),
    ({"engine": "ours"}, "engine must be one of 'openrouter'"),
    (
        {"grid": {"engine": ["vllm"]}, "engine": "sglang"},
        "engine must be absent where the grid has engines, got 'sglang'",
    ),
    (
        {"grid": {"repetition_penalty": [1.0]}, "request": {"rep_pen": 2}, "engine": "koboldcpp"},
        "request must be free of rep_pen, which the grid has, got 2",
    ),
    (
        {"state": {"mirostat": 3.0}},
        "state must be absent where no step has one, got .'mirostat': 3.0.",
    ),
    (
        {"state": {"mu": 3.0}, "request": {"mirostat": 2}},
        r"state must be a map whose keys are among .'mirostat'., got 'mu'",
    ),
    ({"state": 3.0}, "state must be a map from steps to numbers: .*, got 3.0"),
    ({"request": Chain()}, r"request must be SamplingParams, a map or None, got Chain\(\)"),
    ({"request": {"top_p": 1.0}}, "request must be free of top_p, which the grid has, got 1.0"),
    ({"metrics": []}, r"metrics must be a name, a function, or a sequence of those, got \[\]"),
    ({"metrics": "surprise"}, "metrics must be functions, or among 'entropy', .*, got 'surprise'"),
    ({"metrics": ["entropy", entropy]}, "metrics must be of different names, got 'entropy'"),
    ({"metrics": lambda x: 1.0}, "metrics, <lambda> must be a function from logits"),
    ({"reduce": "median"}, "reduce must be one of 'mean', 'rows', .*, got 'median'"),
    ({"chunk": 0}, "chunk must be an integer >= 1, got 0"),
    ({"in_flight": 0}, "in_flight must be an integer >= 1, got 0"),
    ({"rows": "nowhere.npy"}, "rows must be an existing file of logits, got 'nowhere.npy'"),
    ({"rows": __file__}, r"rows must be a file of logits: \.npy, \.npz, .*, got"),
    ({"rows": 5}, "rows must be an array, the path of a file, a recording, or an iterable"),
    ({"rows": {"top_p": [0.5]}}, "rows must be an array, the path of a file, a recording, or an"),
    ({"rows": [[1, 2]]}, "rows must be float16, bfloat16, float32 or float64, got int64"),
    ({"rows": iter([])}, "rows must be at least one chunk of rows, got none"),
    ({"rows": iter([ROWS, ROWS[:, :5]])}, "rows must be of 40 tokens in every chunk"),
    ({"rows": iter([(ROWS, 5)])}, "rows must be chunks, or pairs of a chunk and a Context, got 5"),
    ({"rows": iter([ROWS]), "context": Context([1])}, "context must be None for a stream"),
    ({"context": 5}, "context must be a Context or None, got 5"),
    ({"context": Context([[1], [2]])}, "prompt must be token ids whose leading axes broadcast"),
    ({"grid": {"frequency_penalty": [1.0]}}, "context must be .*"),
]


@pytest.mark.parametrize(("wrong", "message"), MISTAKES)
def test_mistakes_are_named(wrong: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"rows": ROWS, "grid": GRID} | wrong
    with pytest.raises(ParameterError, match=message):
        sweep(**arguments)


def test_a_mistake_costs_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("logitlab.sweeps.run.execute", never)
    with pytest.raises(ParameterError, match="top_p"):
        sweep(ROWS, {"temperature": [0.5] * 10, "top_p": [1.5]})


def test_lists_of_chunks_are_chunks() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 5))
    whole = sweep(rows, {"top_k": [0, 2]})
    for chunks in ([rows[:3], rows[3:]], (rows[:2], rows[2:7])):
        assert np.array_equal(np.asarray(sweep(chunks, {"top_k": [0, 2]})), np.asarray(whole))
    pairs = [(rows[:3], Context(prompt=[1])), (rows[3:], Context(prompt=[2, 2]))]
    assert sweep(pairs, {"frequency_penalty": [0.5]}).rows == 7


def test_a_point_is_found_up_to_rounding_and_by_zipped_names() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 5))
    result = sweep(rows, {"temperature": np.arange(0, 1.05, 0.1)}, "entropy")
    assert result.at(temperature=0.3)["entropy"] == result.values["entropy"][3]
    with pytest.raises(ParameterError, match=r"got 0.33. The nearest is 0.30000000000000004"):
        result.at(temperature=0.33)
    zipped = sweep(rows, {"temperature": [1, 2], "top_p": [0.5, 0.9]}, "entropy", zipped=True)
    assert zipped.at(top_p=0.9)["entropy"] == zipped.values["entropy"][1]


def test_tables_of_a_histogram_have_the_ends_of_its_bins() -> None:
    result = sweep(np.eye(4), {"top_k": [0, 1]}, "entropy", reduce=Histogram([0.0, 0.5, 2.0]))
    lines = result.to_csv().splitlines()
    assert lines[0] == "top_k,bin,entropy_from,entropy_to,entropy"
    assert lines[1:] == ["0,0,0.0,0.5,0.0", "0,1,0.5,2.0,4.0", "1,0,0.0,0.5,4.0", "1,1,0.5,2.0,0.0"]


@pytest.mark.parametrize("engine", ["vllm", "transformers", "mlx_lm", "llama_cpp"])
def test_engines_round_rows_of_double_precision_as_their_chains_do(engine: str) -> None:
    rows = np.random.default_rng(0).normal(size=(4, 30))
    grid: dict[str, Any] = {"temperature": [1.0, 0.7], "top_k": [0, 5]}
    result = sweep(rows, grid, "entropy", engine=engine, reduce="rows")
    for i, t in enumerate(grid["temperature"]):
        for j, k in enumerate(grid["top_k"]):
            chain = engines.get(engine)({"temperature": t, "top_k": k})
            assert np.array_equal(result.values["entropy"][i, j], entropy(chain(rows)))


def test_what_an_engine_does_not_have_is_told_once() -> None:
    grid = {"typical_p": [0.2, 0.9], "temperature": [0.5, 1.0]}
    [note] = sweep(ROWS, grid, "entropy", engine="vllm").notes
    assert (note.key, note.effect) == ("typical_p", "ignored")
    drawn = simulate(ROWS, {"top_k": [2]}, seed=1, request={"typical_P_of_mine": 9})
    assert [note.effect for note in drawn.notes] == ["unknown"]
    assert drawn.to_dict()["notes"] == [drawn.notes[0].sentence]


def test_a_request_does_not_choose_the_engine() -> None:
    asked = {"grid": {"top_k": [3]}, "metrics": "entropy"}
    [note] = sweep(ROWS, **asked, request={"engine": "mlx_lm"}).notes  # type: ignore[arg-type]
    assert (note.key, note.effect) == ("engine", "unknown")


def test_coins_are_the_mixture_that_distribution_tells() -> None:
    rows = ROWS.astype(np.float64)
    grid: dict[str, Any] = {"xtc_probability": [0.0, 0.25, 1.0], "temperature": [0.7, 1.3]}
    names = ["entropy", "support_size", "top_probability", "agreement", "total_variation"]
    result = sweep(rows, grid, names, reduce="rows", request={"xtc_threshold": 0.15}, chunk=4)
    for i, q in enumerate(grid["xtc_probability"]):
        for j, t in enumerate(grid["temperature"]):
            request = {"xtc_probability": q, "temperature": t, "xtc_threshold": 0.15}
            p = distribution(rows, request)
            with np.errstate(divide="ignore"):
                final = np.log(p)
            for name in names:
                measure = getattr(metrics, name)
                is_pair = name in ("agreement", "total_variation")
                expected = measure(rows, final) if is_pair else measure(final)
                np.testing.assert_allclose(result.values[name][i, j], expected, rtol=1e-12)
    shared = sweep(rows, grid, "entropy", request={"xtc_threshold": 0.15}).plan
    assert (shared.shared, shared.dense) == (2, 4)
    reason = "4 points run the dense chain: Xtc tosses a coin, so that the chain is a mixture"
    assert reason in str(shared)
    assert result.state is None
    assert "state" not in result.to_dict()


@pytest.mark.parametrize("engine", ["openrouter", "llama_cpp"])
def test_mirostat_is_measured_in_a_state(engine: str) -> None:
    grid = {"mirostat_tau": [1.0, 2.0]}
    request = {"mirostat": 2, "temperature": 0.8}
    result = sweep(
        ROWS, grid, "entropy", engine=engine, request=request, state={"mirostat": 3.0}, chunk=4
    )
    assert result.state == {"mirostat": 3.0}
    assert json.loads(json.dumps(result.to_dict()))["state"] == {"mirostat": 3.0}
    initial = sweep(ROWS, grid, "entropy", engine=engine, request=request)
    for i, tau in enumerate(grid["mirostat_tau"]):
        chain = engines.get(engine)(request | {"mirostat_tau": tau})
        expected = entropy(chain.at({"mirostat": 3.0})(ROWS)).mean()
        assert result.values["entropy"][i] == pytest.approx(expected, rel=1e-9)
        assert initial.values["entropy"][i] == pytest.approx(entropy(chain.at()(ROWS)).mean())


def test_the_state_of_a_sweep_is_told_for_each_point_where_they_differ() -> None:
    def engine(point: dict[str, Any]) -> Chain:
        cut = [Mirostat(point["tau"])] if point["tau"] else []
        return Chain(Temperature(point["t"]), *cut)

    grid = {"tau": [0, 1.0, 2.0], "t": [0.5, 1.0]}
    result = sweep(ROWS, grid, ["entropy", "support"], engine=engine, reduce="rows")
    assert result.state is not None
    expected = [[np.nan, np.nan], [2.0, 2.0], [4.0, 4.0]]
    np.testing.assert_array_equal(result.state["mirostat"], expected)
    assert (result.plan.shared, result.plan.dense) == (6, 0)
    for i, tau in enumerate(grid["tau"]):
        for j, t in enumerate(grid["t"]):
            final = engine({"tau": tau, "t": t}).at()(ROWS)
            assert result.values["support"][i, j].tolist() == support_size(final).tolist()
            np.testing.assert_allclose(result.values["entropy"][i, j], entropy(final), rtol=1e-9)
    one = sweep(ROWS, {"tau": [2.0], "t": [0.5, 1.0]}, engine=engine)
    assert one.state == {"mirostat": 4.0}


def test_each_row_may_be_in_a_state_of_its_own() -> None:
    bits = np.arange(1.0, 10.0)
    chain = Chain(Temperature(1.5), Mirostat(5.0))
    expected = support_size(chain.at({"mirostat": bits})(ROWS))
    for rows, state in ((ROWS, bits), (ROWS.reshape(3, 3, 40), bits.reshape(3, 3))):
        for chunk in (2, 256):
            result = sweep(
                rows,
                {"k": [0]},
                "support",
                engine=lambda point: chain,
                state={"mirostat": state},
                reduce="rows",
                chunk=chunk,
            )
            assert result.values["support"][0].tolist() == expected.tolist()
    tokens = sample(ROWS, chain, seed=3, size=4, state={"mirostat": bits}).tokens
    simulation = simulate(
        ROWS,
        {"k": [0]},
        lambda tokens: tokens,
        engine=lambda point: chain,
        state={"mirostat": bits},
        draws=4,
        seed=3,
        chunk=2,
    )
    assert simulation.values["<lambda>"][0] == tokens.mean()


def test_a_request_may_be_resolved_already() -> None:
    request = {"top_p": 0.9, "repeat_last_n": 3}
    expected = sweep(ROWS, {"top_k": [2, 5]}, engine="llama_cpp", request=request)
    resolved = resolve(request, "llama_cpp")
    result = sweep(ROWS, {"top_k": [2, 5]}, request=resolved)
    assert np.array_equal(np.asarray(result), np.asarray(expected))
    params = SamplingParams(top_p=0.9, seed=4)
    simulation = simulate(ROWS, {"top_k": [2, 5]}, draws=5, request=params)
    again = simulate(ROWS, {"top_k": [2, 5]}, draws=5, seed=4, request={"top_p": 0.9})
    assert simulation.seed == 4
    assert np.array_equal(np.asarray(simulation), np.asarray(again))
