"""The class for vLLM: driven as its model runner drives it; vLLM itself need not be installed.

``benchmarks/adapters.py vllm`` runs it inside vLLM's own engine.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import Enum, auto
from types import ModuleType, SimpleNamespace
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, adapters

from adapters.requests_of_all_kinds import REQUESTS, Reference, same_bits
from toys import PIECES, Bigrams

torch = pytest.importorskip("torch")

MODEL = Bigrams(end=-1.0)
SIZE = len(PIECES)
CONFIG = SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=lambda: SIZE))
requests = pytest.mark.parametrize(("engine", "request_"), REQUESTS)


class Direction(Enum):
    """As of vllm/v1/sample/logits_processor/interface.py."""

    UNIDIRECTIONAL = auto()
    SWAP = auto()


class Base(ABC):
    """The abstract methods of vllm/v1/sample/logits_processor/interface.py."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Take anything."""
        del sampling_params

    @abstractmethod
    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None: ...

    @abstractmethod
    def apply(self, logits: Any) -> Any: ...

    @abstractmethod
    def is_argmax_invariant(self) -> bool: ...

    @abstractmethod
    def update_state(self, batch_update: Any) -> None: ...


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand in for vLLM, whose import takes long, and which is seldom there."""
    packages = ("vllm", "vllm.v1", "vllm.v1.sample", "vllm.v1.sample.logits_processor")
    for name in packages:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[packages[-1]].LogitsProcessor = Base  # type: ignore[attr-defined]
    importlib.import_module("logitlab.adapters.vllm")._per_request.cache_clear()
    yield
    importlib.import_module("logitlab.adapters.vllm")._per_request.cache_clear()


def params(own: Any = None, n: int = 1) -> Any:
    return SimpleNamespace(n=n, extra_args=None if own is None else {"logitlab": own})


def update(removed: Any = (), added: Any = (), moved: Any = ()) -> Any:
    return SimpleNamespace(batch_size=0, removed=removed, added=added, moved=moved)


def rows_after(texts: list[list[int]]) -> Any:
    return torch.tensor(MODEL.advance([MODEL.start() for _ in texts], texts))


def made(*arguments: Any, **options: Any) -> Any:
    return adapters.vllm(*arguments, **options)(CONFIG, "cpu", False)


@requests
@pytest.mark.parametrize("seed", [None, 4])
def test_requests_come_go_and_move(engine: str, request_: dict[str, Any], seed: int | None) -> None:
    """Texts of three requests: one is put aside and taken up, one moves, one changes place."""
    own = request_ | {"engine": engine}
    prompts = {"a": [1, 2], "b": [3], "c": [4, 4]}
    outputs: dict[str, list[int]] = {name: [] for name in prompts}
    drawn = {} if seed is None else {"seed": seed}
    asked = {name: params(own | drawn | ({"sequence": i} if drawn else {})) for i, name in
             enumerate(prompts)}  # fmt: skip
    processor = made(vocabulary=MODEL)
    assert processor.is_argmax_invariant() is False
    add = {name: (name, asked[name], prompts[name], outputs[name]) for name in prompts}

    def at(row: int, name: str) -> Any:
        return row, *add[name][1:]

    plan: dict[int, tuple[Any, list[str]]] = {
        0: (update(added=[at(0, "a"), at(1, "b")]), ["a", "b"]),
        4: (update(added=[at(2, "c")]), ["a", "b", "c"]),
        8: (update(removed=[0], moved=[(2, 0, Direction.UNIDIRECTIONAL)]), ["c", "b"]),
        12: (update(added=[at(2, "a")]), ["c", "b", "a"]),
        16: (update(moved=[(0, 2, Direction.SWAP)]), ["a", "b", "c"]),
        20: (update(removed=[1], added=[at(0, "b")]), ["b", "", "c"]),
    }
    chain = ll.sampler(request_, engine=engine, vocabulary=MODEL).chain
    references = {name: Reference(chain, prompt) for name, prompt in prompts.items()}
    rng = np.random.default_rng(3)
    order: list[str] = []
    for step in range(24):
        change, order = plan.get(step, (None, order))
        processor.update_state(change)
        texts = [prompts[name] + outputs[name] if name else [1] for name in order]
        logits = rows_after(texts)
        before = logits.clone()
        result = processor.apply(logits)
        assert result is logits
        for i, name in enumerate(order):
            row = before[i].numpy()
            if not name:  # nobody's
                assert torch.equal(result[i], before[i])
                continue
            token = int(rng.choice(SIZE, p=ll.softmax(result[i].numpy())))
            if seed is None:
                assert same_bits(result[i].numpy(), references[name].row(row))
                references[name].add(token)
            outputs[name].append(token)
    if seed is not None:
        for i, (name, prompt) in enumerate(prompts.items()):
            mine = ll.generate(
                MODEL, prompt, request_, engine=engine, seed=seed, sequence=i, max_tokens=16
            )
            assert outputs[name][: len(mine.tokens)] == mine.tokens.tolist()
            assert len(mine.tokens) == 16 or mine.finish_reason == "stop"


def test_a_row_that_is_discarded_changes_nothing() -> None:
    """A prompt that is read in pieces: what is sampled before its end is thrown away."""
    for own in ({"mirostat": 2, "mirostat_tau": 1.5}, {"mirostat": 2, "seed": 3}):
        output: list[int] = []
        processor = made()
        processor.update_state(update(added=[(0, params(own), [1, 2, 3], output)]))
        processor.apply(rows_after([[1]]))
        processor.apply(rows_after([[1, 2]]))
        row = rows_after([[1, 2, 3]])
        fresh = adapters.plain(own)
        assert same_bits(processor.apply(row.clone())[0].numpy(), fresh([1, 2, 3], row[0].numpy()))


def test_an_output_that_is_not_known_is_an_error() -> None:
    for after in ([-1], []):
        output = [4]
        processor = made()
        processor.update_state(update(added=[(0, params({}), [1], output)]))
        processor.apply(rows_after([[1, 4]]))
        output[:] = [4, *after] if after else []
        with pytest.raises(ParameterError) as error:
            processor.apply(rows_after([[1, 4]]))
        assert str(error.value) == (
            "output_token_ids must be the 1 tokens of before, and those that came, got "
            f"{len(output)} with {len(after)} unknown."
        )


def test_a_request_for_all_and_those_of_their_own() -> None:
    processor = made({"top_k": 1}, seed=5)
    own = {"top_k": 2}
    rows = [params(), params(own), params(json.dumps(own)), params(own)]
    rows[3].extra_args["other"] = 1
    processor.update_state(update(added=[(i, one, [1], []) for i, one in enumerate(rows)]))
    result = processor.apply(torch.arange(SIZE).float().repeat(4, 1))
    assert torch.isfinite(result).sum(dim=1).tolist() == [1, 2, 2, 2]
    assert result[0].max() == 0  # drawn
    alone = made()
    alone.update_state(update(added=[(0, params(), [1], []), (1, params(own), None, [])]))
    result = alone.apply(torch.arange(SIZE).float().repeat(2, 1))
    assert torch.isfinite(result).sum(dim=1).tolist() == [SIZE, 2]
    alone.update_state(None)


def test_a_class_is_pickled_and_has_a_name() -> None:
    kind = adapters.vllm({"top_k": 2, "stop": ["x"]}, engine="vllm", seed=5, vocabulary=None)
    again = pickle.loads(pickle.dumps(kind))
    assert again is not kind
    assert issubclass(again, Base)
    for each in (kind, again):
        assert each._default.shaping.seed == 5
        assert repr(each._default.shaping.chain) == repr(
            ll.sampler({"top_k": 2}, engine="vllm").chain
        )
    module = importlib.import_module("logitlab.adapters.vllm")  # as vLLM finds it
    assert issubclass(module.PerRequest, Base)
    assert module.PerRequest is module.PerRequest
    pickle.loads(pickle.dumps(module.PerRequest)).validate_params(params({"top_k": 3}))
    with pytest.raises(AttributeError, match="has no attribute 'Other'"):
        module.Other  # noqa: B018


WRONG: list[tuple[Any, str]] = [
    ({"top_p": 3}, "top_p must be in [0, 1], got 3.0. (In extra_args['logitlab'].)"),
    (
        {"top_pp": 0.3},
        "top_pp must be a known key, got 0.3. Did you mean top_p? (In extra_args['lo",
    ),
    ({"engine": "no"}, "engine must be"),
    (
        {"sequence": 1},
        "sequence must be absent without a seed, got 1. (In extra_args['logitlab'].)",
    ),
    ({"sequence": [1], "seed": 1}, "sequence must be one number for each request, got [1]. (In "),
    ({"coupling": "x"}, "coupling must be one of 'inverse', 'gumbel', got 'x'. (In extra_args"),
    ({"n": 2}, "n must be 1 where single tokens are sampled, got 2."),
    ({"guidance_scale": 2}, "guidance_scale must be absent where vLLM runs the model, got 2.0."),
    ("{", "extra_args['logitlab'] must be a map, or its JSON, got '{'. It says: Expecting"),
    ("3", "extra_args['logitlab'] must be a map, or its JSON, got 3."),
    (3, "extra_args['logitlab'] must be a map, or its JSON, got 3."),
]


@pytest.mark.parametrize(("own", "message"), WRONG)
def test_a_wrong_request_is_refused_before_vllm_takes_it(own: Any, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        adapters.vllm().validate_params(params(own))
    assert str(error.value).startswith(message)


def test_answers_that_would_be_the_same_are_refused() -> None:
    kind: Any = adapters.vllm({"top_k": 2}, seed=1)
    kind.validate_params(params())
    kind.validate_params(params({"top_k": 2}, n=3))  # does not draw
    with pytest.raises(ParameterError) as error:
        kind.validate_params(params(n=3))
    assert str(error.value) == (
        "n must be 1 where the adapter draws, got 3. All answers would be the same: ask for each "
        "with a sequence of its own."
    )


def test_a_vocabulary_checks_early() -> None:
    own = params({"logit_bias": {str(SIZE): 1}})
    adapters.vllm().validate_params(own)
    with pytest.raises(ParameterError, match="logit_bias must be"):
        adapters.vllm(vocabulary=MODEL).validate_params(own)


def test_wrong_options() -> None:
    absent = "must be absent without a request, got 1. Each request says its own in extra_args."
    for options, message in (
        ({"seed": 1}, f"seed {absent}"),
        ({"sequence": 1}, f"sequence {absent}"),
        ({"engine": "no"}, "engine must be"),
        ({"request": {}, "sequence": 1}, "sequence must be absent without a seed, got 1."),
        ({"request": {}, "sequence": [1], "seed": 1}, "sequence must be one number for each reque"),
        (
            {"coupling": "x"},
            "coupling must be absent without a request, got 'x'. Each request says",
        ),
        ({"request": {}, "coupling": "x"}, "coupling must be one of 'inverse', 'gumbel', got 'x'."),
    ):
        with pytest.raises(ParameterError) as error:
            adapters.vllm(**options)
        assert str(error.value).startswith(message)


def test_without_vllm_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as error:
        adapters.vllm({})
    assert str(error.value) == "vllm is not installed: pip install vllm"
