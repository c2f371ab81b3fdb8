"""Arrays of other libraries: each is held to what numpy's gives, or refused in words that help.

What is not installed is left out; CI installs torch, jax, polars, pyarrow and dask for it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Context, ParameterError, SamplingParams
from logitlab.foreign import as_numpy

from foreign_arrays import READ, REFUSED, ROWS, Bare, Kind, of, there

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of np.matrix

KINDS = {name: kind for name, kind in READ.items() if there(*kind.needs)}
WRONG = {name: entry for name, entry in REFUSED.items() if there(*entry[1])}
CHAIN = ll.Chain(ll.Temperature(0.7), ll.TopK(3), ll.TopP(0.9))
REQUEST = SamplingParams(temperature=0.7, top_k=3, seed=5)

of_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def numpy_of(result: Any, kind: Kind, exact: bool = True) -> Any:
    """Return a result as numpy's, having seen that it is of the right library."""
    library = type(result).__module__.partition(".")[0]
    assert library.removesuffix("lib") == kind.back
    if kind.back == "torch":
        assert not result.requires_grad
        return as_numpy(result, "result")
    return np.asarray(result)


def same(result: Any, expected: Any, kind: Kind) -> None:
    array = numpy_of(result, kind)
    if kind.back == "jax" and expected.dtype.itemsize == 8:  # jax has 32 bits, unless told
        expected = expected.astype(expected.dtype.str.replace("8", "4"))
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_some_kinds_are_there() -> None:
    assert len(KINDS) >= 9
    assert len(WRONG) >= 10


@of_kinds
def test_a_transform_returns_the_dtype_and_the_library_that_it_was_given(kind: Kind) -> None:
    x, rows = kind.make(), kind.rows
    for transform in (lambda x: ll.top_k(x, 2), ll.TopK(2)):
        result = transform(x)
        assert str(result.dtype).removeprefix("torch.") == kind.own
        numbers = numpy_of(result, kind).astype(np.float64)
        np.testing.assert_array_equal(numbers, transform(rows.astype(np.float64)))


@of_kinds
def test_chains_distributions_draws_and_measures_are_those_of_numpy(kind: Kind) -> None:
    x, rows = kind.make(), kind.rows.astype(kind.chain)
    same(CHAIN(x), CHAIN(rows), kind)
    same(CHAIN.distribution(x), CHAIN.distribution(rows), kind)
    same(ll.softmax(x), ll.softmax(rows), kind)
    same(ll.log_softmax(x), ll.log_softmax(rows), kind)
    same(ll.distribution(x, REQUEST), ll.distribution(rows, REQUEST), kind)
    same(ll.greedy(x), np.asarray(ll.greedy(rows)), kind)
    draws = ll.sample(x, REQUEST, size=4)
    same(draws.tokens, ll.sample(rows, REQUEST, size=4).tokens, kind)
    assert np.asarray(draws).shape == (*rows.shape[:-1], 4)
    same(ll.sampler(REQUEST)(x), np.asarray(ll.sampler(REQUEST)(rows)), kind)
    alone: tuple[Any, ...] = (ll.entropy, ll.perplexity, ll.support_size, ll.top_probability)
    for measure in alone:
        same(measure(x), np.asarray(measure(rows)), kind)
    pairs: tuple[Any, ...] = (ll.kl_divergence, ll.js_divergence, ll.total_variation)
    for measure in pairs:
        same(measure(x, rows[..., ::-1]), np.asarray(measure(rows, rows[..., ::-1])), kind)
    for measure in (ll.mass_removed, ll.agreement):
        same(measure(x, CHAIN(x)), np.asarray(measure(rows, CHAIN(rows))), kind)
    report, expected = (
        ll.logprobs(x, draws.tokens, top_logprobs=2),
        ll.logprobs(rows, np.asarray(draws), top_logprobs=2),
    )
    for name in ("logprobs", "top_tokens", "top_logprobs"):
        same(getattr(report, name), getattr(expected, name), kind)


@of_kinds
def test_reports_are_those_of_numpy(kind: Kind) -> None:
    x, rows = kind.make(), kind.rows.astype(kind.chain)
    trace, expected = ll.trace(x, REQUEST), ll.trace(rows, REQUEST)
    assert type(trace.logits) is np.ndarray
    np.testing.assert_array_equal(trace.logits, expected.logits)
    left, right = ll.survivors(x, REQUEST), ll.survivors(rows, REQUEST)
    for one, other in zip(left.tokens, right.tokens, strict=True):
        np.testing.assert_array_equal(one, other)
    distances = ll.compare_engines(x, {"top_k": 2}, engines=["vllm", "llama_cpp"])
    others = ll.compare_engines(rows, {"top_k": 2}, engines=["vllm", "llama_cpp"])
    assert repr(distances) == repr(others)
    swept = ll.sweep(x, {"top_k": [1, 2]}, ["entropy"])
    assert repr(swept) == repr(ll.sweep(rows, {"top_k": [1, 2]}, ["entropy"]))


@of_kinds
def test_the_input_is_left_as_it_was(kind: Kind) -> None:
    x = kind.make()
    ll.sample(x, REQUEST), CHAIN(x), ll.temperature(x, 0.5), ll.Temperature(1.0)(x)
    np.testing.assert_array_equal(as_numpy(x, "x"), kind.rows)
    array = as_numpy(x, "x")
    for result in (ll.temperature(x, 1.0), ll.Chain()(x)):  # which change nothing
        assert not np.shares_memory(as_numpy(result, "result"), array)


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_refused_with_what_helps(name: str) -> None:
    make, _, message = WRONG[name]
    for function in (ll.softmax, lambda x: ll.top_k(x, 1), lambda x: ll.sample(x, {}, seed=1)):
        with pytest.raises(ParameterError, match=message):
            function(make())


def test_values_of_parameters_are_read_alike() -> None:
    arrays: list[Any] = [np.asarray]
    arrays += [of("torch").tensor] if there("torch") else []
    arrays += [of("jax.numpy").asarray] if there("jax") else []
    arrays += [of("array_api_strict").asarray] if there("array_api_strict") else []
    for array in arrays:
        params = SamplingParams(
            top_k=array(5), temperature=array(0.5), seed=array(7), logit_bias={3: array(1.0)},
            logprobs=array(True), stop_token_ids=array([1, 2]),
        )  # fmt: skip
        assert params == SamplingParams(
            top_k=5, temperature=0.5, seed=7, logit_bias={3: 1.0}, logprobs=True,
            stop_token_ids=[1, 2],
        )  # fmt: skip
        body = {"top_k": array(2), "temperature": array(0.5), "stop_token_ids": array([1])}
        plain = {"top_k": 2, "temperature": 0.5, "stop_token_ids": [1]}
        assert repr(ll.engines.vllm(body)) == repr(ll.engines.vllm(plain))
        assert ll.TopK(array(5)) == ll.TopK(5)
        assert ll.TopK(array([5, 6])) == ll.TopK([5, 6])
        assert ll.LogitBias({3: array([1.0, 2.0])}) == ll.LogitBias({3: [1.0, 2.0]})
        assert ll.SuppressTokens(array([1, 2])) == ll.SuppressTokens([1, 2])
        context = Context(prompt=array([[1, 2]]), output=[array([1]), array([2, 3])])
        assert context == Context(prompt=[[1, 2]], output=[[1], [2, 3]])
        assert Context(prompt=[array(1), array(2)]) == Context(prompt=[1, 2])
        drawn = ll.sample(ROWS, {}, seed=array(3), size=array(2), position=array(1)).tokens
        np.testing.assert_array_equal(drawn, ll.sample(ROWS, {}, seed=3, size=2, position=1).tokens)
        model = ll.models.NGram.bundled()
        text = ll.generate(model, array([5, 6, 7]), max_tokens=array(3), seed=1).text
        assert text == ll.generate(model, [5, 6, 7], max_tokens=3, seed=1).text
        assert text == ll.generate(model, [array(5), array(6), array(7)], max_tokens=3, seed=1).text
        both = ll.generate_many(model, [array([5, 6, 7]), array([8])], max_tokens=3, seed=1)
        assert next(iter(both)).text == text
        scored = ll.score(model, array([5, 6, 7]), prompt=array([8]), top_k=array(3))
        alone = ll.score(model, [5, 6, 7], prompt=[8], top_k=3)
        assert scored.processed.removals == alone.processed.removals
        rows: Any = array([[5, 6]])
        assert [each.text for each in ll.score(model, rows, prompt=[8])] == [alone.text[:2]]
        values = ll.sweep(ROWS, {"top_k": array([1, 2])}, ["entropy"])
        assert Context(output=[array([]), array([1])]) == Context(output=[[], [1]])
        assert repr(values) == repr(ll.sweep(ROWS, {"top_k": [1, 2]}, ["entropy"]))


def test_columns_of_lists_are_rows_and_ragged_contexts() -> None:
    lists = [[1, 2], [3]]
    columns: list[Any] = []
    columns += [of("pandas").Series(lists)] if there("pandas") else []
    columns += [of("pyarrow").array(lists)] if there("pyarrow") else []
    columns += [of("polars").Series(lists)] if there("polars") else []
    for column in columns:
        assert Context(prompt=column) == Context(prompt=lists)
    tables: list[Any] = []
    tables += [of("pyarrow").table({"a": ROWS.tolist()})] if there("pyarrow") else []
    tables += [of("polars").DataFrame({"a": ROWS.tolist()})] if there("polars") else []
    for table in tables:
        np.testing.assert_array_equal(ll.top_k(table, 2), ll.top_k(ROWS, 2))


def test_what_cannot_be_copied_is_refused_by_its_key() -> None:
    model = ll.models.NGram.bundled()
    asks: list[Any] = [
        lambda body: SamplingParams(extra=body),
        lambda body: ll.sample(ROWS, body, seed=1),
        lambda body: ll.sampler(body),
        lambda body: ll.generate(model, "Once", body, max_tokens=1, seed=1),
        lambda body: ll.adapters.plain(body),
    ]
    for ask in asks:
        with pytest.raises(ParameterError, match=r"^x_lock must be a value that can be copied"):
            ask({"x_lock": threading.Lock()})
    if there("torch"):  # one with a history is a number all the same
        hot = of("torch").tensor([0.5], requires_grad=True).sum() * 2
        for ask in asks[1:]:
            ask({"temperature": hot})


def test_whole_numbers_that_steer_a_call_are_pythons_from_then_on() -> None:
    arrays: list[Any] = [np.asarray]
    arrays += [of("torch").tensor] if there("torch") else []
    arrays += [of("jax.numpy").asarray] if there("jax") else []
    model = ll.models.NGram.bundled()
    grid = {"temperature": [0.5, 1.0]}
    plain = ll.simulate(ROWS, grid, "agreement", draws=20, seed=1, confidence=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for array in arrays:
            drawn = ll.simulate(
                ROWS, grid, "agreement", draws=array(20), seed=array(1), confidence=array(0.5),
                chunk=array(3), in_flight=array(2),
            )  # fmt: skip
            assert repr(drawn) == repr(plain)
            for ends in ("low", "high"):
                np.testing.assert_array_equal(
                    getattr(drawn, ends)["agreement"], getattr(plain, ends)["agreement"]
                )
            story = ll.generate(
                model, "The", sequence=array(1), max_tokens=2, seed=1, batch_size=array(3)
            )
            assert type(story.sequence) is int
            assert story.text == ll.generate(model, "The", sequence=1, max_tokens=2, seed=1).text
            state = {"mirostat": array(3.0)}
            text = ll.score(model, " king", mirostat=2, prompt="The", state=state)
            assert text.processed.states is not None
            assert text.processed.states["mirostat"].dtype == np.float64
            [longer] = ll.resume(model, [story], max_tokens=array(4))
            assert longer.text.startswith(story.text)
            vocabulary = ll.Vocabulary([bytes([i]) for i in range(ROWS.shape[1])])
            recorded = ll.models.Recorded(ROWS, vocabulary, context_length=array(2))
            assert type(recorded.context_length) is int


def test_numpys_own_booleans_are_booleans() -> None:
    assert SamplingParams(logprobs=np.True_) == SamplingParams(logprobs=True)  # type: ignore[arg-type]
    model = ll.models.NGram.bundled()
    trace: Any = np.bool_(False)
    assert ll.generate(model, "The", trace=trace, progress=trace, max_tokens=1, seed=1).text


def test_what_cannot_say_its_shape_is_refused_all_the_same() -> None:
    class Shapeless(Bare):
        @property
        def shape(self) -> Any:
            raise RuntimeError("no sizes")

    with pytest.raises(ParameterError, match=r"got a \w+\.Shapeless\. logits are on"):
        ll.top_k(Shapeless(ROWS, (2, 0)), 2)  # type: ignore[arg-type]


@pytest.mark.skipif(not there("torch"), reason="torch is not installed")
def test_tensors_spell_a_sequence() -> None:
    tensor = of("torch").tensor
    biased = SamplingParams(sequence_bias={(tensor(1), tensor(2)): tensor(1.0)})
    assert biased == SamplingParams(sequence_bias={(1, 2): 1.0})


@pytest.mark.skipif(not there("torch"), reason="torch is not installed")
def test_widened_tensors_lie_in_memory_of_numpy() -> None:
    torch = of("torch")
    for dtype in (torch.bfloat16, torch.float8_e5m2):
        array = as_numpy(torch.zeros((2, 3), dtype=dtype), "x")
        assert array.base is None  # in large pages, which torch's are not
        assert array.dtype == np.float32


def test_values_elsewhere_are_refused_in_their_name() -> None:
    with pytest.raises(ParameterError, match=r"top_p is on cuda:0: call \.cpu\(\)"):
        ll.TopP(Bare(np.array(0.5), (2, 0)))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"top_p is on cuda:0: call \.cpu\(\)"):
        SamplingParams(top_p=Bare(np.array(0.5), (2, 0)))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"prompt is on cuda:0: call \.cpu\(\)"):
        Context(prompt=Bare(np.array([1]), (2, 0)))  # type: ignore[arg-type]


def test_tokens_that_were_drawn_from_tensors_are_read_again() -> None:
    for kind in KINDS.values():
        tokens = ll.sample(kind.make(), REQUEST, size=3).tokens
        vocabulary = ll.Vocabulary([b"a", b"b", b"c", b"d"])
        text = vocabulary.decode(tokens)
        labels = [vocabulary.label(int(token)) for token in np.asarray(tokens).flat]
        assert text == "".join(labels)
        row = tokens if kind.row else tokens[0]
        assert "".join(vocabulary.label(token) for token in row) == text[:3]
        assert Context(output=row).output.tolist() == np.asarray(row).tolist()


def test_an_array_of_jax_on_another_device_is_not_copied() -> None:
    device = SimpleNamespace(platform="gpu", id=1)  # no machine here has one
    array = type("ArrayImpl", (), {"__module__": "jaxlib._jax", "devices": lambda self: [device]})
    with pytest.raises(ParameterError, match=r"logits are on gpu:1: call jax.device_get\(x\)"):
        ll.softmax(array())


@pytest.mark.skipif(not there("ml_dtypes"), reason="ml_dtypes is not installed")
def test_every_number_of_16_and_8_bits_is_widened_exactly() -> None:
    kinds = of("ml_dtypes")
    for kind, bits in ((kinds.bfloat16, 16), (kinds.float8_e5m2, 8), (kinds.float8_e4m3fn, 8)):
        every = np.arange(2**bits, dtype=f"u{bits // 8}").view(kind)
        wide = as_numpy(every, "x")
        assert wide.dtype == np.float32
        with np.errstate(invalid="ignore"):  # of NaN that signal
            np.testing.assert_array_equal(wide, every.astype(np.float64))
        if kind is kinds.bfloat16:  # its bits are the upper half of float32's
            halves = np.arange(2**16, dtype=np.uint32) << 16
            numbers = ~np.isnan(wide)
            assert (wide.view(np.uint32)[numbers] == halves[numbers]).all()
            if there("torch"):
                tensor = of("torch").tensor(every.view(np.int16)).view(of("torch").bfloat16)
                np.testing.assert_array_equal(as_numpy(tensor, "x"), wide)


@pytest.mark.skipif(not there("ml_dtypes"), reason="ml_dtypes is not installed")
@given(st.data())
def test_no_transform_overflows_a_small_dtype(data: st.DataObject) -> None:
    kinds = of("ml_dtypes")
    kind = data.draw(st.sampled_from([kinds.bfloat16, kinds.float8_e5m2, kinds.float8_e4m3fn]))
    most = float(kinds.finfo(kind).max)
    numbers = st.floats(-most, most, width=32)
    x = np.array(data.draw(st.lists(numbers, min_size=1, max_size=6)), np.float32).astype(kind)
    t = data.draw(st.sampled_from([1e-3, 0.1, 0.5, 3.0]))
    result = ll.temperature(x, t)
    assert result.dtype == kind
    wide, before = result.astype(np.float32), x.astype(np.float32)
    assert np.isfinite(wide).all()
    # The order is kept, but for what rounds to the same number.
    order = np.argsort(before, kind="stable")
    assert (np.diff(wide[order]) >= 0).all()
    if there("torch"):
        tensor = of("torch").tensor(before).to(getattr(of("torch"), kind.__name__))
        again = ll.temperature(tensor, t)
        np.testing.assert_array_equal(as_numpy(again, "x"), wide)


@pytest.mark.skipif(not there("torch"), reason="torch is not installed")
def test_torch_shares_memory_and_keeps_no_gradient() -> None:
    torch = of("torch")
    x = torch.tensor(ROWS, requires_grad=True)
    assert np.shares_memory(as_numpy(x, "x"), x.detach().numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of arrays that may not be written to
        ll.softmax(x)[0, 0] = 0.0
        ll.top_k(x, 2)[0, 0] = 0.0
    np.testing.assert_array_equal(x.detach().numpy(), ROWS)
    with pytest.raises(ParameterError, match="logits are traced, without numbers: call outside of"):
        torch.func.vmap(ll.softmax)(torch.tensor(ROWS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own tracer old
        with pytest.raises(ParameterError, match="without numbers: call outside of torch"):
            torch.jit.trace(ll.softmax, torch.tensor(ROWS))
    for dtype in (torch.float32, torch.bfloat16, torch.float8_e5m2):
        slope = torch.func.grad(lambda x: ll.softmax(x).sum())
        with pytest.raises(ParameterError, match="without numbers: call outside of torch"):
            slope(torch.tensor(ROWS[0]).to(dtype))


@pytest.mark.skipif(not there("jax"), reason="jax is not installed")
def test_what_jax_traces_is_refused_and_devices_are_kept() -> None:
    jax = of("jax")
    x: Any = jax.numpy.asarray(ROWS)
    softmax: Any = ll.softmax
    for trace in (jax.jit, jax.vmap):
        with pytest.raises(ParameterError, match="logits are traced, without numbers: call out"):
            trace(softmax)(x)
    assert softmax(x).devices() == x.devices()
    with pytest.raises(ParameterError, match="top_k is traced"):
        jax.jit(lambda k: ll.top_k(ROWS, k))(jax.numpy.asarray(2))


def test_no_library_is_imported_to_find_out() -> None:
    code = (
        "import sys, numpy as np, logitlab as ll\n"
        "class Bare:\n"
        "    def __init__(self, a): self.a = a\n"
        "    def __dlpack__(self, **k): return self.a.__dlpack__(**k)\n"
        "    def __dlpack_device__(self): return self.a.__dlpack_device__()\n"
        "x = np.zeros((2, 4), np.float32)\n"
        "for each in (x, [x[0], x[1]], Bare(x)):\n"
        "    ll.sample(each, {'top_k': np.array(2)}, seed=1), ll.top_k(each, 2)\n"
        "others = {'torch', 'jax', 'ml_dtypes', 'pandas', 'polars', 'pyarrow', 'xarray', 'dask'}\n"
        "assert not others & set(sys.modules), others & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
