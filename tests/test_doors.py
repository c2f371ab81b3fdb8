"""What enters the library: masked arrays, matrices, and things of every wrong type."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Context, ParameterError, SamplingParams, Vocabulary
from logitlab.checks import MOST_DRAWS, MOST_NUMBERS, MOST_POINTS, MOST_TEXTS
from logitlab.models import Recorded, Recorder
from logitlab.request.params import PARAMETERS

from toys import Bigrams

ma: Any = np.ma
X = np.zeros((2, 4))
MODEL = Bigrams()
MASKED = ma.array([5.0, 1.0, 0.5, 0.0], mask=[1, 0, 0, 0])
IDS = ma.array([1, 0], mask=[0, 1])

LOGITS: dict[str, Callable[[Any], Any]] = {
    "sample": lambda x: ll.sample(x, {}),
    "sampler": lambda x: ll.sampler({})(x),
    "greedy": lambda x: ll.greedy(x),
    "survivors": lambda x: ll.survivors(x),
    "distribution": lambda x: ll.distribution(x),
    "trace": lambda x: ll.trace(x),
    "logprobs": lambda x: ll.logprobs(x, 1),
    "entropy": lambda x: ll.entropy(x),
    "kl_divergence": lambda x: ll.kl_divergence(x, np.zeros(4)),
    "softmax": lambda x: ll.softmax(x),
    "top_p": lambda x: ll.top_p(x, 0.5),
    "Chain": lambda x: ll.Chain(ll.TopK(2))(x),
    "compare_engines": lambda x: ll.compare_engines(x, {}),
    "draw": lambda x: ll.engines.vllm.draw(x, {}, seed=1),
    "sweep": lambda x: ll.sweep(x, {"top_k": [1]}),
    "stream of rows": lambda x: ll.sweep(iter([x]), {"top_k": [1]}),
    "simulate": lambda x: ll.simulate(x, {"top_k": [1]}, seed=1),
    "Recorded": lambda x: Recorded([x], Vocabulary([b"a"] * 4)),
}


def test_logits_that_are_something_else_of_the_library() -> None:
    rows = ll.datasets.load("smollm2")
    wrongs: tuple[Any, ...] = (
        {"top_p": 0.9},
        SamplingParams(top_p=0.9),
        ll.TopP(0.9),
        0.9,
        "top_p",
    )
    for wrong in wrongs:
        with pytest.raises(
            ParameterError, match=r"^logits must .*\. The first argument is the logits\.$"
        ):
            ll.trace(wrong, rows.logits[0])
    for run in (rows, Recorded([rows.logits[0]], rows.vocabulary)):
        with pytest.raises(ParameterError, match=r"Give its logits: x\.logits of this Record"):
            ll.trace(run, {})  # type: ignore[arg-type]
    with pytest.raises(
        ParameterError, match=r"got <Vocabulary .*\. The first argument is the logits\.$"
    ):
        ll.plot.trace(rows.vocabulary, rows.logits[0])
    for array in (None, np.float64(0.9), np.array("a")):
        with pytest.raises(ParameterError, match=r"^logits must .* got [^.]*\.$"):
            ll.trace(array)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of np.matrix
@pytest.mark.parametrize("name", LOGITS)
def test_masks_of_logits_are_not_lost(name: str) -> None:
    rows = ma.array([[5.0, 1.0, 0.5, 0.0]], mask=[[1, 0, 0, 0]])
    for masked in (MASKED, rows, [MASKED], [list(MASKED)], ma.array(np.zeros(4))):
        with pytest.raises(ParameterError, match=r"np\.where\(mask, -np\.inf, x\)"):
            LOGITS[name](masked)
    with pytest.raises(ParameterError, match="must be an array and no matrix, got mat"):
        LOGITS[name](np.matrix([[1.0, 2.0, 0.0, 0.0]]))


OTHERS: dict[str, Callable[[], Any]] = {
    "top_p of rows": lambda: ll.top_p(X, ma.array([0.5, 0.6], mask=[1, 0])),
    "temperature": lambda: ll.Temperature(ma.array([0.5, 0.6], mask=[1, 0])),
    "a masked number": lambda: ll.Temperature(ma.masked),
    "a masked number in a list": lambda: ll.Temperature([1.0, ma.masked]),
    "a matrix of values": lambda: ll.Temperature(np.matrix([0.5])),
    "a request": lambda: SamplingParams(temperature=ma.masked),
    "bias": lambda: ll.LogitBias({1: ma.array([1.0], mask=[1])}),
    "prompt": lambda: Context(prompt=IDS),
    "prompts": lambda: Context(prompt=[IDS, [1, 2, 3]]),
    "output": lambda: Context(output=[[1, ma.masked]]),
    "text": lambda: ll.generate(MODEL, IDS),
    "scored text": lambda: ll.score(MODEL, IDS),
    "tokens": lambda: ll.logprobs(X, ma.array([1, 0], mask=[1, 0])),
    "sequence": lambda: ll.sample(X, sequence=IDS),
    "position": lambda: ll.uniform(1, 0, IDS),
    "coins": lambda: ll.gumbel(1, IDS),
    "state": lambda: ll.sample(X, {"mirostat": 2}, state={"mirostat": ma.array([1.0, 2.0])}),
    "grid": lambda: ll.sweep(X, {"top_k": IDS}),
    "quantiles": lambda: ll.sweeps.Quantiles(ma.array([0.5], mask=[1])),
    "edges": lambda: ll.sweeps.Histogram(ma.array([0.5, 1.0], mask=[1, 0])),
    "text of tokens": lambda: Vocabulary([b"a", b"b"]).decode(IDS),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of np.matrix
@pytest.mark.parametrize("name", OTHERS)
def test_masks_of_other_arrays_are_not_lost(name: str) -> None:
    with pytest.raises(ParameterError, match=r"without a mask|no matrix"):
        OTHERS[name]()


class Foreign:
    """An array of another library, which holds a masked one, or cannot be read."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.array is None:
            raise RuntimeError("it is on another device")
        return self.array


def test_arrays_of_other_libraries() -> None:
    assert ll.greedy(Foreign(np.array([1.0, 2.0]))) == 1
    with pytest.raises(ParameterError, match=r"np\.where"):
        ll.greedy(Foreign(MASKED))
    with pytest.raises(ParameterError, match="it is on another device"):
        ll.greedy(Foreign(None))
    for odd in (np.array(["a"]), np.array([object()]), np.zeros(2, [("a", "f8")]), np.array(1.0)):
        with pytest.raises(ParameterError, match=r"^logits must be"):
            ll.greedy(odd)
    pandas = pytest.importorskip("pandas")
    assert ll.greedy(pandas.Series([1.0, 2.0])) == 1


def test_limits_are_checked_before_work() -> None:
    for call, message in (
        (lambda: ll.generate(MODEL, [1], n=2**70), f"n must be at most {MOST_TEXTS}"),
        (lambda: ll.generate(MODEL, [1], n=99999999), f"n must be at most {MOST_TEXTS}"),
        (
            lambda: ll.generate_many(MODEL, [[1]] * 3, n=MOST_TEXTS // 2),
            f"n must be so many that there are at most {MOST_TEXTS} texts",
        ),
        (lambda: ll.sample(X, size=2**70), f"size must be at most {MOST_DRAWS // 2} for 2 rows"),
        (lambda: ll.sample(X, size=MOST_DRAWS), "size must be at most"),
        (lambda: ll.sample(X, size=(2, 3)), "size must be an integer >= 0"),  # type: ignore[arg-type]
        (lambda: ll.sample(X, size=-1), "size must be an integer >= 0"),
        (
            lambda: ll.sweep(X, {"temperature": np.arange(10**4), "top_p": np.arange(10**4)}),
            "grid must be of at most 1000000 points, got 100000000",
        ),
        (
            lambda: ll.sweep(X, {"temperature": range(10**12)}),
            "grid must be of at most 1000000 points, got 1000000000000 of temperature",
        ),
        (
            lambda: ll.simulate(X, {"top_k": [1]}, draws=2**70),
            f"draws must be at most {MOST_DRAWS // 2} for chunks of 2 rows, got",
        ),
        (
            lambda: ll.simulate(np.zeros((90, 4)), {"top_k": [1]}, draws=4_000_000),
            f"draws must be at most {MOST_DRAWS // 64} for chunks of 64 rows, got 4000000. Take",
        ),
        (lambda: ll.sweep(X, {"top_k": b"ab"}), "top_k must be a sequence of at least one value"),
        (
            lambda: ll.sweep(X, {"top_k": bytearray(b"ab")}),
            "top_k must be a sequence of at least one value",
        ),
        (
            lambda: ll.sweep(X, {"top_k": range(300)}, reduce=ll.sweeps.Histogram(MOST_POINTS)),
            f"grid must be of at most {MOST_NUMBERS} numbers",
        ),
        (lambda: ll.sweep(X, {}), "grid must be a map"),
        (lambda: ll.sweep(X, {"top_k": []}), "top_k must be a sequence of at least one value"),
        (lambda: ll.sweep(X, {"top_k": [1]}, []), "metrics must be a name, a function"),
        (lambda: ll.sweep(X, {"top_k": [1, 2, 1]}), "top_k must be free of values that are given"),
        (lambda: ll.sweep(X, {"top_p": [0, 0.0]}), "top_p must be free of values that are given"),
        (
            lambda: ll.sweep(X, {"engine": ["vllm", ll.engines.vllm], "top_k": [1]}),
            "engine must be free of values that are given twice",
        ),
        (
            lambda: ll.sweep(X, {"top_k": [1, 1], "top_p": [0.5, 0.5]}, zipped=True),
            "grid must be free of values that are given twice",
        ),
    ):
        with pytest.raises(ParameterError, match=f"^{message}"):
            call()
    assert ll.sample(X, size=0).tokens.shape == (2, 0)
    assert ll.sweep(X, {"top_k": [1, 1], "top_p": [0.5, 0.6]}, zipped=True).rows == 2


def test_a_metric_that_raises_is_not_tried_again_here() -> None:
    from concurrent.futures import ThreadPoolExecutor

    calls: list[int] = []

    def broken(logits: Any) -> Any:
        calls.append(1)
        raise ZeroDivisionError("by nothing")

    with ThreadPoolExecutor(2) as pool:
        for executor in (None, pool):
            calls.clear()
            with pytest.raises(RuntimeError, match=r"rows . to . failed with ZeroDivisionError: b"):
                ll.sweep(X[:1], {"top_k": [1]}, broken, executor=executor)
            assert len(calls) == 1


ODD: list[Any] = [
    *(None, 5, 1, -1, 2.5, True, "x", b"x", object(), [], {}, (), [None], ["x"], {"x": 1}, {1: 2}),
    *(np.array([]), np.array(["a"]), np.array([object()]), float("nan"), ma.masked),
    *("é\ud800", "a\0b", set(), 1j, ...),
]

GOOD: dict[str, Any] = {
    **dict.fromkeys(("logits", "p_logits", "q_logits", "before", "after", "raw", "rows"), X),
    "request": {},
    "requests": {},
    "engine": "vllm",
    "engines": ["vllm"],
    "model": MODEL,
    "context": Context([1]),
    "tokens": [0, 0],
    "prompt": [1],
    "prompts": [[1]],
    "seed": 1,
    "grid": {"top_k": [1, 2]},
    "generations": [],
    "vocabulary": Vocabulary([b"a"] * 4),
    "max_tokens": 2,
    "name": "x",
    "path": "run.npy",
    "step": ll.TopK(2),
}


def doors() -> Iterator[tuple[str, Any]]:
    swept = ll.sweep(X, {"top_k": [1, 2]})
    compared = ll.compare_engines(X, {}, engines=["vllm", "sglang"])
    words = Vocabulary([b"a", b"b"])
    for name in sorted(ll.__all__):
        value = getattr(ll, name)
        if callable(value) and name not in ("Engine", "EndpointError"):
            yield name, value
    for owner, names in (
        (ll.engines.vllm, ("translate", "draw", "reported", "__call__")),
        (ll.engines, ("get", "translate")),
        (ll.datasets, ("load", "texts", "merges")),
        (ll.models, ("load", "load_vocabulary", "Gguf")),
        (ll.sweeps, ("Quantiles", "Histogram")),
        (swept, ("to_csv", "at")),
        (compared, ("distribution", "distance", "partings")),
        (words, ("find", "decode", "label")),
        (ll.Chain(ll.TopK(2)), ("trace", "distribution", "at", "branch", "__call__")),
        (ll.sampler(SamplingParams(temperature=0.5)), ("__call__",)),
        (SamplingParams, ("from_request",)),
    ):
        for name in names:
            yield f"{getattr(owner, '__name__', type(owner).__name__)}.{name}", getattr(owner, name)
    yield "Recorded", Recorded
    yield "Recorded.open", Recorded.open
    yield "Recorder", Recorder


DOORS = dict(doors())


@pytest.mark.parametrize("name", DOORS)
def test_things_of_every_wrong_type(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but `ParameterError` comes of an argument of the wrong type."""
    monkeypatch.chdir(tmp_path)
    function = DOORS[name]
    kinds = inspect.Parameter
    many = (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind not in many]
    given: dict[str, Any] = {
        each.name: GOOD.get(each.name, 1) for each in parameters if each.default is kinds.empty
    }
    if name in ("generate", "stream", "generate_many"):
        given["max_tokens"] = 2
    if name == "score":
        given["text"] = [1, 2]
    for each in parameters:
        for odd in ODD:
            try:
                result = function(**(given | {each.name: odd}))
                if inspect.isgenerator(result):
                    list(result)
            except ParameterError:
                pass
            for file in os.listdir():
                os.unlink(file)


BUNDLED = sorted(name for name in ll.engines.ENGINES if ll.engines.get(name).is_bundled)


@pytest.mark.parametrize("engine", BUNDLED)
def test_parameters_of_any_size_and_type_at_every_engine(engine: str) -> None:
    """What a client may send is taken or refused in one form, and nothing overflows."""
    row = np.linspace(3, -3, 9, dtype=np.float32)
    seen = Context(prompt=[1, 2, 1], output=[2, 1], unconditional=row[::-1].copy())
    said = []
    for key in PARAMETERS:
        for odd in (10**400, -(10**400), 1e300, -1e300, 2**63, "1", "", True, [-1], {"a": 1}):
            try:
                ll.sample(row, {key: odd}, engine=engine, seed=1, context=seen)
            except ParameterError as error:
                said.append(str(error))
    form = re.compile(r"(?!logits)[a-z_0-9.\[\]']+ must be .+, got .+\.", re.DOTALL)
    assert [words for words in said if not form.match(words)] == []
    assert len(said) >= 3 * len(PARAMETERS)


def test_where_a_watermarks_key_and_window_are_wrong() -> None:
    for name, odd, rule in (
        ("hashing_key", -3, r"an integer in \[0, 9223372036854775807\]"),
        ("hashing_key", 2**63, r"an integer in \[0, 9223372036854775807\]"),
        ("context_width", 0, r"an integer in \[1, 1048576\]"),
    ):
        says = rf"^watermarking_config\.{name} must be {rule}, got {odd}\.$"
        with pytest.raises(ParameterError, match=says):
            SamplingParams(watermarking_config={name: odd})
