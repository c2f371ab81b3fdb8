"""Adapters in a loop that calls as llama-cpp-python does, and in its own where it is installed."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, adapters

from adapters.requests_of_all_kinds import REQUESTS, Reference, same_bits
from toys import PIECES, Bigrams

MODEL = Bigrams(end=-1.0)
SIZE = len(PIECES)
requests = pytest.mark.parametrize(("engine", "request_"), REQUESTS)


def written(prompt: list[int], processors: list[Any], count: int) -> list[int]:
    """Write as ``llama_cpp.Llama`` does: rows in an array of structures, ids in one long buffer."""
    ids, length = np.zeros(200, np.intc), len(prompt)
    ids[:length] = prompt
    candidates = np.recarray(
        SIZE, np.dtype([("id", np.intc), ("logit", np.single), ("p", np.single)], align=True)
    )
    rng = np.random.default_rng(2)
    for _ in range(count):
        candidates.logit[:] = MODEL.advance([MODEL.start()], [ids[:length].tolist()])[0]
        for processor in processors:
            candidates.logit[:] = processor(ids[:length], candidates.logit)
        ids[length] = rng.choice(SIZE, p=ll.softmax(candidates.logit))
        length += 1
    return [int(token) for token in ids[len(prompt) : length]]


class Recorded:
    """An adapter, and a copy of whatever it was called with and returned."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.calls: list[tuple[list[int], Any, Any]] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        before, ids = scores.copy(), input_ids.tolist()
        result = self.adapter(input_ids, scores)
        assert type(result) is np.ndarray
        self.calls.append((ids, before, result.copy()))
        return result

    def check(self, prompt: list[int]) -> None:
        reference = Reference(self.adapter.chain, prompt)
        for ids, before, result in self.calls:
            if len(ids) > len(prompt):
                reference.add(ids[-1])
            assert ids == prompt + reference.output
            assert same_bits(result, reference.row(before))


@requests
def test_rows_are_the_chains_bit_for_bit(engine: str, request_: dict[str, Any]) -> None:
    recorded = Recorded(adapters.llama_cpp(request_, engine=engine))
    for prompt in ([1, 2, 3], [4]):
        recorded.calls.clear()
        written(prompt, [recorded], 25)
        assert len(recorded.calls) == 25
        recorded.check(prompt)


@requests
def test_with_a_seed_the_tokens_are_those_of_generate(
    engine: str, request_: dict[str, Any]
) -> None:
    adapter = adapters.llama_cpp(request_, engine=engine, seed=6, vocabulary=MODEL)
    mine = ll.generate(MODEL, [1, 2], request_, engine=engine, seed=6, max_tokens=25)
    for _ in range(2):
        theirs = written([1, 2], [adapter], len(mine.tokens))
        assert theirs == mine.tokens.tolist()


def test_wrong_calls() -> None:
    adapter = adapters.llama_cpp({"stop": ["x"]})
    assert adapter.notes[0].sentence.startswith("stop is left to llama-cpp-python: ")
    for ids, scores, message in (
        ([[1]], np.zeros(4), "input_ids must be token ids of shape (L,) beside one row, got shape"),
        (
            [1],
            np.zeros((2, 4)),
            "scores must be of shape (n, V) with V at least 1, got shape (1, 2",
        ),
        ([9], np.zeros(4), "input_ids must be token ids in [0, 3], got 9."),
        ([1], np.zeros(4, int), "scores must be float16, bfloat16, float32 or float64, got int64."),
    ):
        with pytest.raises(ParameterError) as error:
            adapter(ids, scores)
        assert str(error.value).startswith(message)


@pytest.mark.parametrize(("engine", "request_"), REQUESTS[::3])
def test_inside_of_llama_cpp_python(engine: str, request_: dict[str, Any]) -> None:
    if importlib.util.find_spec("llama_cpp") is None or "LOGITLAB_SMOLLM2" not in os.environ:
        pytest.skip("llama_cpp is not installed, or LOGITLAB_SMOLLM2 names no file")
    library = importlib.import_module("llama_cpp")
    path = os.environ["LOGITLAB_SMOLLM2"]
    model = ll.models.LlamaCpp(path, context_length=256)
    llama = library.Llama(path, n_ctx=256, flash_attn=True, verbose=False)
    prompt = model.encode("Once upon a time")
    free = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "top_k": 0, "repeat_penalty": 1.0}
    recorded = Recorded(adapters.llama_cpp(request_, engine=engine, vocabulary=model))
    processors = library.LogitsProcessorList([recorded])
    llama.create_completion(prompt, logits_processor=processors, max_tokens=12, **free)
    assert recorded.calls
    recorded.check(prompt)
    recorded = Recorded(adapters.llama_cpp(request_, engine=engine, seed=6, vocabulary=model))
    processors = library.LogitsProcessorList([recorded])
    llama.reset()
    llama.create_completion(prompt, logits_processor=processors, max_tokens=12, **free)
    mine = ll.generate(model, prompt, request_, engine=engine, seed=6, max_tokens=12)
    drawn = [int(result.argmax()) for *_, result in recorded.calls]
    assert drawn == mine.tokens.tolist()
