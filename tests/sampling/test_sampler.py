"""A request resolved once: it draws what `sample` draws, and refuses what `sample` refuses."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import (
    Chain,
    Context,
    Mirostat,
    ParameterError,
    SamplingParams,
    Temperature,
    Xtc,
    kernels,
)
from logitlab.engines.resolve import resolve
from logitlab.numerics import widened
from logitlab.sampling import sampler as module
from logitlab.sampling.sample import draw_tokens
from logitlab.sampling.sampler import Drawer
from logitlab.steps.growing import GrowingContext, Tally

from strategies import batch_shapes, contexts, logits
from toys import Bigrams

ROW = np.linspace(3, -3, 9, dtype=np.float32)

REQUESTS: list[Any] = [
    None,
    {},
    {"temperature": 0.7, "top_k": 3, "seed": 5},
    {"temperature": 0},
    SamplingParams(temperature=1.3, top_p=0.8),
    SamplingParams(temperature=0.9, min_p=0.1, frequency_penalty=0.5, logit_bias={0: 2.0}),
    SamplingParams(repetition_penalty=1.2, top_a=0.1, presence_penalty=-0.5),
    {"xtc_probability": 0.5, "xtc_threshold": 0.1, "temperature": 1.5},
    {"mirostat": 2, "mirostat_tau": 3},
    Chain(Temperature(0.5), Xtc(0.5, threshold=0.1)),
    Chain(Mirostat(2.0)),
    Temperature(0.8),
]
ENGINES = ("openrouter", "llama_cpp", "vllm", "transformers", ll.engines.koboldcpp)


def by_hand(array: Any, request: Any, engine: Any, given: dict[str, Any]) -> Any:
    """Draw as `sample` is described: a place for every draw of every row, through one chain."""
    array = widened(np.asarray(array))
    batch, size = array.shape[:-1], given.get("size")
    count, number = 1 if size is None else size, int(np.prod(batch))
    resolved = resolve(request, engine, size=array.shape[-1])
    chain = resolved.chain.at(given.get("state"), batch)
    rows = given.get("sequence")
    rows = np.arange(number).reshape(batch) if rows is None else rows
    sequence = np.broadcast_to(rows, batch).reshape(-1, 1) + np.zeros(count, np.int64)
    first = np.broadcast_to(given.get("position", 0), batch).reshape(-1, 1)
    with kernels.off():
        tokens = draw_tokens(
            array, chain, given.get("context"), [given["seed"]], sequence,
            first + np.arange(count), given.get("coupling", "inverse"), given.get("threads", 1),
        )  # fmt: skip
    return tokens.reshape(batch if size is None else (*batch, count))


@settings(max_examples=150)
@given(st.data())
def test_it_draws_what_sample_draws(data: st.DataObject) -> None:
    request: Any = data.draw(st.sampled_from(REQUESTS))
    engine: Any = data.draw(st.sampled_from(ENGINES))
    batch = data.draw(st.just(()) | batch_shapes())
    array = data.draw(logits(batch=batch, max_size=9))
    places = st.integers(0, 2**31)
    given: dict[str, Any] = {"seed": data.draw(st.integers(-(2**70), 2**70))}
    options: dict[str, Any] = {
        "context": contexts(batch, array.shape[-1]),
        "size": st.integers(0, 3),
        "coupling": st.sampled_from(["inverse", "gumbel"]),
        "sequence": places | places.map(np.int64) | places.map(lambda i: np.full(batch, i)),
        "position": places | places.map(np.int64) | places.map(lambda i: np.full(batch, i)),
        "threads": st.integers(1, 3),
    }
    for name, values in options.items():
        if data.draw(st.booleans()):
            given[name] = data.draw(values)
    given.setdefault("context", Context([0]))
    try:
        expected = by_hand(array, request, engine, given)
    except ParameterError as error:
        message = str(error)
        with pytest.raises(ParameterError) as caught:
            ll.sampler(request, engine=engine)(array, **given)
        with pytest.raises(ParameterError) as told:
            ll.sample(array, request, engine=engine, **given)
        assert str(caught.value) == str(told.value) == message
        return
    draw = ll.sampler(request, engine=engine)
    whole = ll.sample(array, request, engine=engine, **given)
    again = ll.sample(array, request, engine=engine, **given)
    for tokens in (draw(array, **given), whole.tokens, again.tokens, draw(array, **given)):
        assert type(tokens) is (np.ndarray if expected.ndim else np.int64)
        assert tokens.dtype == np.int64
        np.testing.assert_array_equal(tokens, expected)
    held = ll.sample(array, draw, **given)
    assert (held.seed, held.notes) == (whole.seed, whole.notes)
    np.testing.assert_array_equal(held.tokens, expected)
    if chain := draw.chain.stateful:
        assert held.state is not None
        assert held.state.keys() == chain.keys()


BAD: list[dict[str, Any]] = [
    *({"logits": x} for x in ([], 1.0, [[1.0], [1.0, 2.0]], ["a"], [1, 2], [np.nan, 1.0])),
    *({"logits": np.array(x, np.float32)} for x in ([np.inf, 0], [-np.inf, -np.inf], [np.nan])),
    *({"position": x} for x in (-1, 2**32, 1.5, True, None, "0", [0, 1], 2**70)),
    *({"sequence": x} for x in (-1, 2**63, 1.5, True, "0", [0, 1])),
    *({"seed": x} for x in (1.5, True, "7", [7])),
    *({"coupling": x} for x in ("both", None, 1, ["inverse"], np.array(["inverse"]))),
    *({"threads": x} for x in (0, -1, 1.0, True, None)),
    *({"size": x} for x in (-1, 2**70, 1.0, True, "1")),
    *({"state": x} for x in ({"mirostat": 1.0}, 5, "x")),
    *({"context": x} for x in (None, 5, [1], Context([99]), Context([[1], [1]]))),
    {"position": 2**32 - 1, "size": 2},
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("plain", [True, False])
def test_it_refuses_what_sample_refuses_in_the_same_words(bad: dict[str, Any], plain: bool) -> None:
    request = SamplingParams(frequency_penalty=0.5, temperature=0.8, top_k=4)
    given: dict[str, Any] = {"logits": ROW, "context": Context([1]), "seed": 1} | bad
    x = given.pop("logits")
    if not plain and "logits" not in bad:
        x = np.stack([ROW, ROW, ROW])
    with pytest.raises(ParameterError) as told:
        ll.sample(x, request, **given)
    with pytest.raises(ParameterError) as caught:
        ll.sampler(request)(x, **given)
    assert str(caught.value) == str(told.value)
    assert caught.value.args[0] == told.value.args[0]


def test_what_is_wrong_with_a_request_is_said_when_it_is_made() -> None:
    for request, engine in (({"top_p": 2}, "openrouter"), (5, "vllm"), ({}, "nobody")):
        with pytest.raises(ParameterError) as caught:
            ll.sampler(request, engine=engine)  # type: ignore[arg-type]
        with pytest.raises(ParameterError) as told:
            ll.sample(ROW, request, engine=engine)  # type: ignore[arg-type]
        assert str(caught.value) == str(told.value)


def test_rules_about_the_vocabulary_are_those_of_each_width() -> None:
    draw = ll.sampler({"top_k": 9, "temperature": 1}, engine="mlx_lm")
    assert draw(np.linspace(3, -3, 12), seed=1) in range(9)
    for _ in range(2):
        with pytest.raises(ParameterError, match="top_k"):
            draw(ROW, seed=1)
        with pytest.raises(ParameterError, match="top_k"):
            ll.greedy(ROW, draw)
    assert draw(np.linspace(3, -3, 12), seed=1) in range(9)


def test_without_a_seed_it_takes_the_requests_or_a_fresh_one() -> None:
    seeded = ll.sampler({"temperature": 2, "seed": 7})
    assert seeded(ROW, size=50).tolist() == seeded(ROW, size=50, seed=7).tolist()
    fresh = ll.sampler({"temperature": 2})
    assert len({tuple(fresh(ROW, size=50).tolist()) for _ in range(3)}) == 3
    assert len({int(fresh(ROW, seed=np.random.default_rng(i))) for i in range(60)}) > 1


def test_it_stands_for_its_request() -> None:
    params = SamplingParams(temperature=0.8, top_k=3, logprobs=True, top_logprobs=2)
    draw = ll.sampler(params, engine="vllm")
    rows = np.stack([ROW, ROW[::-1]])
    for one, other in zip(
        ll.survivors(rows, draw).tokens,
        ll.survivors(rows, params, engine="vllm").tokens,
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(ll.greedy(rows, draw), [0, 8])
    np.testing.assert_array_equal(
        ll.distribution(rows, draw), ll.distribution(rows, params, engine="vllm")
    )
    told = ll.logprobs(rows, [0, 8], draw, mode="processed")
    wanted = ll.logprobs(rows, [0, 8], params, engine="vllm", mode="processed")
    np.testing.assert_array_equal(told.top_logprobs, wanted.top_logprobs)
    assert ll.plan(draw) == draw.plan
    assert ll.trace(ROW, draw).kept.tolist() == ll.trace(ROW, params, engine="vllm").kept.tolist()
    assert ll.sampler(draw) is draw
    model = Bigrams()
    asked = {"temperature": 1.5, "seed": 3, "max_tokens": 9}
    assert ll.generate(model, [1], ll.sampler(asked)).tokens.tolist() == (
        ll.generate(model, [1], asked).tokens.tolist()
    )


def test_a_map_may_change_afterwards() -> None:
    asked: dict[str, Any] = {"temperature": 1.0, "logit_bias": {0: 100.0}}
    draw = ll.sampler(asked)
    asked["logit_bias"][3] = 1000.0
    asked["temperature"] = 5
    assert draw(ROW, seed=1) == 0
    assert draw(ROW[:5], seed=1) == 0


def test_sample_knows_only_the_very_same_request_again() -> None:
    asked: dict[str, Any] = {"logit_bias": {0: 100.0}}
    assert ll.sample(ROW, asked, seed=1).tokens == 0
    asked["logit_bias"] = {3: 100.0}
    assert ll.sample(ROW, asked, seed=1).tokens == 3
    params = SamplingParams(temperature=0.8)
    for engine in ("openrouter", "llama_cpp", "openrouter", "mlx_lm"):
        for size in (9, 5, 9):
            ll.sample(ROW[:size], params, engine=engine, seed=1)
            last = module._last
            assert last is not None
            assert last[0] is params
            assert last[2].resolved.engine is ll.engines.get(engine)
            assert last[2].size == size
    before = module._last
    ll.sample(ROW, params, engine="mlx_lm", seed=1)
    assert module._last is before


def test_it_prints_is_pickled_and_copied() -> None:
    params = SamplingParams(temperature=0.8, top_k=4, seed=7, logit_bias={1: 1.0})
    for draw in (
        ll.sampler(params, engine="vllm"),
        ll.sampler({"temperature": 0.8}, engine=ll.engines.llama_cpp),
        ll.sampler(Chain(Temperature(0.5))),
    ):
        draw(ROW)
        for twin in (pickle.loads(pickle.dumps(draw)), copy.deepcopy(draw), copy.copy(draw)):
            assert repr(twin) == repr(draw)
            assert (twin.chain, twin.engine.name) == (draw.chain, draw.engine.name)
            assert twin(ROW, seed=3, size=9).tolist() == draw(ROW, seed=3, size=9).tolist()
    assert repr(ll.sampler(params)).endswith("TopK(4)), engine='openrouter', seed=7)")
    assert repr(ll.sampler(Temperature(0.5))) == "Sampler(Chain(Temperature(0.5)))"


def test_threads_share_it() -> None:
    draw = ll.sampler({"temperature": 1.5, "top_p": 0.95, "frequency_penalty": 0.1})
    rows = ll.datasets.load("smollm2").logits[:6]
    seen = Context([5, 6, 7], [8])

    def work(place: int) -> int:
        row = rows[place % 6]
        return int(draw(row[: 9000 + place % 3], context=seen, seed=place, position=place))

    alone = [work(place) for place in range(60)]
    fresh = draw = ll.sampler({"temperature": 1.5, "top_p": 0.95, "frequency_penalty": 0.1})
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(60))) == alone
    assert fresh is draw


def grown(prompts: list[Any], outputs: list[Any]) -> GrowingContext:
    texts = zip(prompts, outputs, strict=True)
    tallies = [Tally(np.concatenate(text)) for text in texts], [Tally(text) for text in outputs]
    return GrowingContext(prompts, outputs, *tallies)


@pytest.mark.parametrize("request_", REQUESTS[:8], ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_their_own_seeds_are_each_as_if_alone(request_: Any, dtype: Any) -> None:
    rows = ll.datasets.load("smollm2").logits[:6].astype(dtype)
    rows[1, ::3] = -np.inf
    rows[2] = np.float32(2.5)  # every token alike
    random = np.random.default_rng(1)
    prompts = [random.integers(0, 49152, 5 + i) for i in range(6)]
    outputs = [rows[i].argsort()[-i - 1 :] for i in range(6)]
    drawer = Drawer(resolve(request_), 49152)
    for shift in range(20):
        seeds = [-1, 2**70, 3, 3, 5, 0]
        places = [(2**40 * i, shift + 7 * i) for i in range(6)]
        context = grown(prompts, outputs)
        drawn = drawer.draw_rows(rows, context, seeds, places, "inverse")
        with kernels.off():
            expected = drawer.draw_rows(rows, context, seeds, places, "inverse")
        assert drawn.tolist() == expected.tolist()
        for i in range(6):
            own = Context(prompts[i], outputs[i])
            alone = drawer.draw_rows(rows[i], own, seeds[i : i + 1], places[i : i + 1], "inverse")
            assert alone.tolist() == [drawn[i].tolist()]


def test_rows_at_any_address_and_of_any_stride() -> None:
    row = ll.datasets.load("smollm2").logits[4]
    odd = np.frombuffer(b"x" + row.tobytes(), np.uint8)[1:].view(np.float32)
    wide = np.stack([row, row], axis=-1)
    assert not odd.flags.aligned
    assert not wide[:, 0].flags.contiguous
    draw = ll.sampler({"temperature": 1.2, "top_p": 0.9, "logit_bias": {3: 1.0}})
    for seed in range(10):
        expected = draw(row, seed=seed)
        others = (odd, wide[:, 0], row.astype(">f4"), row.tolist(), row[None])
        assert [int(np.ravel(draw(x, seed=seed))[0]) for x in others] == [expected] * 5
        race: Any = {"seed": seed, "coupling": "gumbel"}
        assert {int(np.ravel(draw(x, **race))[0]) for x in others} == {int(draw(row, **race))}
    told, known = (ll.logprobs(x, 5, top_logprobs=3) for x in (odd, row))
    assert told.logprobs == known.logprobs
    assert told.top_tokens.tolist() == known.top_tokens.tolist()


def test_what_is_wrong_beside_a_prepared_draw_is_told_as_ever() -> None:
    rows = np.zeros((2, 9), np.float32)
    for request, context in (
        (Chain(ll.LogitBias({9: 0.0})), None),
        (Chain(ll.Temperature([1.0, 1.0]), ll.TopK(2)), None),
        (Chain(ll.FrequencyPenalty(0.5)), None),
        (Chain(ll.FrequencyPenalty(0.5)), Context([9])),
        (Chain(ll.TopK(2)), Context([9])),
        (Chain(ll.LogitBias(dict.fromkeys(range(9), -np.inf))), None),
    ):
        told = []
        for call in (ll.sampler(request), lambda x, **k: ll.sample(x, request, **k)):  # noqa: B023
            for x in (rows[0], rows[:1, :9].reshape(9)):
                with pytest.raises(ParameterError) as caught:
                    call(x, context=context, seed=1)
                told.append(str(caught.value))
        with kernels.off(), pytest.raises(ParameterError) as caught:
            ll.sampler(request)(rows[0], context=context, seed=1)
        assert {*told} == {str(caught.value)}


def test_the_wrong_row_of_a_batch_is_told_wherever_it_is_drawn() -> None:
    rows = np.tile(ROW, (4, 1))
    rows[2, 1] = np.nan
    places = [(row, 0) for row in range(4)]
    drawer = Drawer(resolve(SamplingParams(top_k=2), "openrouter", size=9), 9)
    with pytest.raises(ParameterError, match=r"NaN in row \(2,\)"):
        drawer.draw_rows(rows, None, [1] * 4, places, "inverse")
    for seed in range(8):  # so that the coins fall one way and the other
        with pytest.raises(ParameterError, match=r"NaN in row \(2,\)"):
            ll.sample(rows, {"top_k": 2, "xtc_probability": 0.5}, seed=seed)


@pytest.mark.skipif(kernels.built is None, reason="installed without kernels")
def test_what_has_begun_with_kernels_ends_without_them() -> None:
    drawer = Drawer(resolve({"top_k": 3}, "openrouter", size=9), 9)
    ready = drawer._ready_for(ROW.dtype)
    assert ready
    expected, _ = ready.draw(ROW[None], None, [1], [(0, 0)])
    with kernels.off():
        found, states = ready.draw(ROW[None], None, [1], [(0, 0)])
    assert found == expected
    assert not states.any()


def test_what_does_not_exist_is_refused_beside_a_sampler_too() -> None:
    made = ll.sampler({"top_k": 2}, engine="vllm")
    row = np.zeros(5)
    doors: list[Any] = [ll.sample, ll.greedy, ll.survivors, ll.distribution, ll.trace]
    for door in (*doors, lambda row, request, **more: ll.sampler(request, **more)):
        with pytest.raises(ParameterError, match=r"^engine must be one of "):
            door(row, made, engine="nonsense")
        with pytest.raises(ParameterError, match=r"^vocabulary must be "):
            door(row, made, vocabulary=5)


def test_any_mapping_makes_a_sampler_and_few_widths_are_kept() -> None:
    made = ll.sampler(MappingProxyType({"top_k": 1}))
    for size in range(1, 60):
        assert made(np.arange(float(size)), seed=1) == size - 1
    assert len(made._drawers) <= 16
