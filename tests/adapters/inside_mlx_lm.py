"""Run by `test_mlx_lm`: ``python inside_mlx_lm.py PART`` prints that the part held."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import logitlab as ll
import mlx.core as mx
import numpy as np
import pytest
from logitlab import ParameterError, adapters
from mlx_lm.generate import BatchGenerator, generate_step, speculative_generate_step
from mlx_lm.models import llama
from mlx_lm.sample_utils import make_sampler

from adapters.requests_of_all_kinds import REQUESTS, Reference, same_bits

SIZE = 60


def network(dtype: Any = mx.float32) -> Any:
    """Return a random llama with opinions."""
    mx.random.seed(7)
    model = llama.Model(
        llama.ModelArgs(
            model_type="llama",
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-5,
            vocab_size=SIZE,
        )
    )
    weights = [
        (name, mx.random.normal(weight.shape) * 0.3 + (weight.ndim == 1))
        for name, weight in flat(model.parameters())
    ]
    model.load_weights(weights)
    model.set_dtype(dtype)
    return model


def flat(tree: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, mx.array):
        return [(name, tree)]
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [each for key, part in pairs for each in flat(part, f"{name}.{key}".lstrip("."))]


class Ours(ll.models.Model):
    """The same network as a model here: a text read as mlx-lm reads it."""

    name = "mlx"

    def __init__(self, model: Any) -> None:
        self.model = model
        self.vocabulary = ll.Vocabulary(f"<{i}>".encode() for i in range(SIZE))
        self.context_length = 64

    def advance(self, states: Sequence[Any], tokens: Sequence[Sequence[int]]) -> Any:
        from mlx_lm.models.cache import make_prompt_cache

        rows = []
        for state, new in zip(states, tokens, strict=True):
            if not state.tokens:
                state.cache = make_prompt_cache(self.model)
            state.read(new)
            for piece in filter(None, (new[:-1], new[-1:])):  # the last of a prompt by itself
                row = self.model(mx.array(piece)[None], cache=state.cache)[0, -1]
            rows.append(np.array(row.astype(mx.float32)))
        return np.stack(rows)


class Recorded:
    """An adapter, and a copy of whatever it was called with and returned."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.calls: list[tuple[list[int], Any, Any]] = []

    def __call__(self, tokens: Any, logits: Any) -> Any:
        result = self.adapter(tokens, logits)
        assert isinstance(result, mx.array)
        assert result.dtype == mx.float32
        assert result.shape == logits.shape
        before = np.array(logits.astype(mx.float32))[0]
        self.calls.append((tokens.tolist(), before, np.array(result)[0]))
        return result


def written(model: Any, prompt: list[int], adapter: Any, temperature: float = 1.0) -> list[int]:
    steps = generate_step(
        mx.array(prompt),
        model,
        max_tokens=20,
        sampler=make_sampler(temp=temperature),
        logits_processors=[adapter],
    )
    return [int(token) for token, _ in steps]


def run(texts: Any) -> None:
    while texts.next_generated():
        pass


def rows() -> None:
    """Rows are the chain's bit for bit, in one text after another."""
    for dtype in (mx.float32, mx.bfloat16, mx.float16):
        model = network(dtype)
        for engine, request in REQUESTS:
            recorded = Recorded(adapters.mlx_lm(request, engine=engine))
            for prompt in ([5, 6, 7], [9]):
                recorded.calls.clear()
                tokens = written(model, prompt, recorded)
                reference = Reference(recorded.adapter.chain, prompt)
                assert len(recorded.calls) >= len(tokens) == 20
                for ids, before, result in recorded.calls:
                    if len(ids) > len(prompt):
                        reference.add(ids[-1])
                    assert ids == prompt + reference.output
                    assert same_bits(result, reference.row(before))


def draws() -> None:
    """With a seed the tokens are those of generate."""
    for dtype in (mx.float32, mx.bfloat16):
        model = network(dtype)
        ours = Ours(model)
        for engine, request in REQUESTS:
            adapter = adapters.mlx_lm(request, engine=engine, seed=5, vocabulary=ours)
            mine = ll.generate(ours, [5, 6, 7], request, engine=engine, seed=5, max_tokens=20)
            for temperature in (0.0, 1.0):
                theirs = written(model, [5, 6, 7], adapter, temperature)
                assert theirs == mine.tokens.tolist(), (engine, request, dtype)


def batch() -> None:
    """A batch takes an adapter for each text, and not one for all of them."""
    prompts, request = [[5, 6, 7], [9], [5, 6, 7]], {"mirostat": 2, "mirostat_tau": 3.0}
    each = [Recorded(adapters.mlx_lm(request, seed=5, sequence=i)) for i in range(3)]
    texts = BatchGenerator(network())
    texts.insert(prompts, [9] * 3, logits_processors=[[one] for one in each])
    run(texts)
    for number, (prompt, one) in enumerate(zip(prompts, each, strict=True)):
        assert one.calls[0][0] == prompt
        state = one.adapter.chain.init()
        for ids, before, result in one.calls:
            drawn = ll.sample(
                before,
                request,
                state=state,
                seed=5,
                sequence=number,
                position=len(ids) - len(prompt),
            )
            token = int(drawn.tokens)
            assert np.flatnonzero(np.isfinite(result)).tolist() == [token]
            stage = one.adapter.chain.at(state)(before)
            alive = np.flatnonzero(stage > -np.inf)
            seen = ll.log_softmax(stage[alive])[alive.searchsorted(token)]
            state = one.adapter.chain.update(state, float(seen))
    shared = BatchGenerator(network(), logits_processors=[adapters.mlx_lm(request)])
    shared.insert([[5, 6, 7], [9]], [9] * 2)
    with pytest.raises(ParameterError, match="those of one text until it ends"):
        run(shared)


def refused() -> None:
    """Drafts go back."""
    model, adapter = network(), adapters.mlx_lm({"top_k": 20})
    mx.random.seed(3)
    steps = speculative_generate_step(
        mx.array([5, 6, 7]),
        model,
        network(mx.bfloat16),
        max_tokens=20,
        sampler=make_sampler(temp=1.0),
        logits_processors=[adapter],
    )
    with pytest.raises(ParameterError, match="Nothing goes back here"):
        list(steps)


def wrong() -> None:
    """What is no array of mlx is refused, and so is what no text has."""
    adapter = adapters.mlx_lm({"top_k": 2})
    row, ids = mx.zeros((1, 4)), mx.array([1, 2])
    for tokens, logits, message in (
        (ids, np.zeros((1, 4)), "logits must be an array of mlx, got"),
        ([1], row, "tokens must be an array of mlx, got [1]."),
        (mx.array([4]), row, "tokens must be token ids in [0, 3], got 4."),
        (ids, row[0], "logits must be of shape (n, V) with V at least 1, got shape (4,)."),
        (ids, row.astype(mx.int32), "logits must be float16, bfloat16, float32 or float64, got"),
        (ids, row * mx.nan, "logits must be free of NaN, got NaN in row (0,). (In the rows of mlx"),
    ):
        with pytest.raises(ParameterError) as error:
            adapter(tokens, logits)
        assert str(error.value).startswith(message)


if __name__ == "__main__":
    {"rows": rows, "draws": draws, "batch": batch, "refused": refused, "wrong": wrong}[
        sys.argv[1]
    ]()
    print(sys.argv[1], "held")
