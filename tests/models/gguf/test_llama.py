"""The forward pass: against plain float64, and bit by bit against itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, dequantize, quantize
from logitlab import ParameterError
from logitlab.models import Gguf
from logitlab.models.gguf import llama

from models.tiny_llama import TOKENS, Tiny

MODELS = {
    "tied": Tiny(),
    "its own output": Tiny(tied=False, base=100_000.0),
    "one head a group": Tiny(groups=4),
    "one group": Tiny(groups=1, layers=1),
    "wider heads than the model": Tiny(head=12, rotated=12),
    "half of a head turns": Tiny(head=8, rotated=4),
    "wide": Tiny(layers=1, width=320, inner=900, heads=5, groups=1, head=64, rotated=64),
    "positions by a factor": Tiny(factor=4.0),
    "positions by many factors": Tiny(frequencies=(1.0, 2.0, 4.0, 8.0)),
}
RNG = np.random.default_rng(11)
TEXTS = [RNG.integers(0, len(TOKENS), length).tolist() for length in (1, 3, 17, 64, 65, 150)]


def made(tmp_path: Path, tiny: Tiny, kind: str = "F32") -> Gguf:
    return Gguf(tiny.write(tmp_path / "tiny.gguf", tiny.weights(), kind))


@pytest.fixture
def model(tmp_path: Path) -> Gguf:
    return made(tmp_path, MODELS["tied"])


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_plain_float64(name: str, tmp_path: Path) -> None:
    tiny = MODELS[name]
    model = made(tmp_path, tiny)
    texts = TEXTS if name == "tied" else TEXTS[:-1]
    states = [model.start() for _ in texts]
    logits = model.advance(states, texts)
    assert logits.dtype == np.float32
    for row, text in zip(logits, texts, strict=True):
        expected = tiny.logits(tiny.weights(), text)
        assert np.ptp(expected) > 5
        np.testing.assert_allclose(row, expected, atol=2e-4)
    assert [state.tokens for state in states] == texts


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_1", "Q4_0", "Q5_1"])
def test_quantised_weights_are_undone_before_anything_is_computed(
    kind: str, tmp_path: Path
) -> None:
    tiny = MODELS["its own output"]
    stored = GGMLQuantizationType[kind]
    # Rows of queries and keys change places in the file, and a row is quantised by itself.
    undone = {
        name: w if w.ndim == 1 else dequantize(quantize(w, stored), stored).astype(np.float32)
        for name, w in tiny.weights().items()
    }
    model = made(tmp_path, tiny, kind)
    logits = model.advance([model.start()], [TEXTS[2]])[0]
    np.testing.assert_allclose(logits, tiny.logits(undone, TEXTS[2]), atol=2e-4)


@pytest.mark.parametrize("name", ["tied", "one head a group", "one group", "wide"])
def test_a_text_has_the_same_bits_in_every_batch_and_split(name: str, tmp_path: Path) -> None:
    model = made(tmp_path, MODELS[name])
    rng = np.random.default_rng(2)
    alone = [model.advance([model.start()], [text])[0] for text in TEXTS]
    for _ in range(2 if name == "wide" else 6):  # which takes ten times as long
        chosen = rng.permutation(len(TEXTS))[: rng.integers(1, len(TEXTS) + 1)]
        states = [model.start() for _ in chosen]
        left = [list(TEXTS[i]) for i in chosen]
        while any(left):
            going = [j for j, text in enumerate(left) if text]
            counts = [int(rng.integers(1, len(left[j]) + 1)) for j in going]
            new = [left[j][:count] for j, count in zip(going, counts, strict=True)]
            logits = model.advance([states[j] for j in going], new)
            for row, j, count in zip(logits, going, counts, strict=True):
                del left[j][:count]
                if not left[j]:
                    assert np.array_equal(row, alone[chosen[j]])


def test_one_token_at_a_time_has_the_same_bits(model: Gguf) -> None:
    text = TEXTS[-1]
    state = model.start()
    for i, token in enumerate(text):
        logits = model.advance([state], [[token]])
        if i % 13 == 0 or i in (62, 63, 64, 127, 128):
            assert np.array_equal(logits, model.advance([model.start()], [text[: i + 1]]))


def test_copies_and_rewound_texts_have_the_same_bits(model: Gguf) -> None:
    text, other = TEXTS[-1], TEXTS[-2]
    alone = model.advance([model.start()], [text])
    state = model.start()
    model.advance([state], [text[:70]])
    branches = [state.copy() for _ in range(3)]
    twigs = [branches[0].copy(), state.copy()]
    model.advance([state, *branches], [other, other[:5], text[70:90], other[3:9]])
    assert np.array_equal(model.advance([branches[1]], [text[90:]]), alone)
    for twig in twigs:
        assert twig.tokens == text[:70]
        assert np.array_equal(model.advance([twig], [text[70:]]), alone)
    for used, length in [(state, 70), (state, 63), (branches[0], 1), (twigs[0], 149)]:
        used.rewind(length)
        assert np.array_equal(model.advance([used], [text[length:]]), alone)
    state.rewind(0)
    assert np.array_equal(model.advance([state], [other]), model.advance([model.start()], [other]))


def test_a_copy_moves_no_memory_until_it_goes_on(model: Gguf) -> None:
    state = model.start()
    model.advance([state], [TEXTS[3]])
    twin = state.copy()
    assert isinstance(state, llama.LlamaState)
    assert isinstance(twin, llama.LlamaState)
    assert twin._pages is state._pages
    model.advance([state, twin], [[1], [2]])
    assert twin._pages is not state._pages


def test_logits_are_the_callers_to_keep(model: Gguf) -> None:
    state = model.start()
    first = model.advance([state], [[4, 5]])
    kept = first.copy()
    first[:] = 0
    state.rewind(0)
    assert np.array_equal(model.advance([state], [[4, 5]]), kept)


def test_no_texts_give_no_logits(model: Gguf) -> None:
    assert model.advance([], []).shape == (0, len(TOKENS))


def test_what_cannot_be_read_changes_no_state(model: Gguf) -> None:
    state = model.start()
    model.advance([state], [[1, 2]])
    last = len(TOKENS) - 1
    wrong: list[tuple[str, list[int]]] = [
        ("tokens[1] must be a sequence of at least one token, got [].", []),
        (f"tokens[1] must be an integer in [0, {last}], got {last + 1}.", [1, last + 1]),
        ("tokens[1] must be within the context length of 400, got 401 tokens.", [1] * 399),
    ]
    for message, tokens in wrong:
        with pytest.raises(ParameterError) as caught:
            model.advance([model.start(), state], [[1], tokens])
        assert str(caught.value).startswith(message)
        assert state.tokens == [1, 2]
    with pytest.raises(ParameterError, match="states must be different objects"):
        model.advance([state, state], [[1], [1]])
    expected = model.advance([model.start()], [[1, 2, 3]])
    assert np.array_equal(model.advance([state], [[3]]), expected)
