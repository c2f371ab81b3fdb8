"""Needs torch and transformers: small models with random weights, made here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import ParameterError, datasets, generate, score
from logitlab.models import Recorded, Recorder, Transformers
from logitlab.models.chat_template import render

from models import calling
from models.trees import actions, play

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SIZE = 60
COMMON: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**COMMON),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=SIZE,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=1,
    ),
    "sliding": lambda: transformers.MistralConfig(**COMMON, sliding_window=6),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, state_size=4, eos_token_id=1
    ),
}
CACHED = {name: network for name, network in CONFIGS.items() if name != "mamba"}
_made: dict[str, Any] = {}


def network(name: str) -> Any:
    """Return a model with weights that are far enough from each other to have opinions."""
    if name not in _made:
        torch.manual_seed(7)
        torch.set_num_threads(1)
        _made[name] = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
        with torch.no_grad():
            for weight in _made[name].parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
    return _made[name]


def full(name: str, tokens: list[int]) -> Any:
    """Return the logits of the model's own pass over a whole text, without a cache."""
    with torch.no_grad():
        return network(name)(torch.tensor([tokens]), use_cache=False).logits[0, -1].numpy()


@pytest.mark.parametrize("name", CONFIGS)
@given(steps=actions(SIZE), together=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_logits_are_those_of_the_whole_text(name: str, steps: list[Any], together: int) -> None:
    model = Transformers(network(name), rows_together=together)
    play(
        model,
        steps,
        lambda tokens, row: np.testing.assert_allclose(
            row, full(name, tokens), rtol=1e-4, atol=1e-4
        ),
    )


@pytest.mark.parametrize("name", CONFIGS)
@given(steps=actions(SIZE))
@settings(max_examples=25, deadline=None)
def test_neighbours_change_no_bit(name: str, steps: list[Any]) -> None:
    def rows(*, alone: bool) -> list[bytes]:
        results: list[bytes] = []
        model = Transformers(network(name))
        play(model, steps, lambda _, row: results.append(row.tobytes()), alone=alone)
        return results

    assert rows(alone=False) == rows(alone=True)


@pytest.mark.parametrize("name", CONFIGS)
@given(steps=actions(SIZE))
@settings(max_examples=15, deadline=None)
def test_read_token_by_token_the_pieces_do_not_matter(name: str, steps: list[Any]) -> None:
    model = Transformers(network(name), tokens_together=1)
    play(
        model,
        steps,
        lambda tokens, row: np.testing.assert_array_equal(
            row, model.advance([model.start()], [tokens])[0]
        ),
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_texts_are_those_of_generate(name: str) -> None:
    prompts = [[0, 5, 9, 30], [0, 17], [44] * 12]
    for together in (1, 3):
        model = Transformers(network(name), rows_together=together)
        states = [model.start() for _ in prompts]
        logits = model.advance(states, prompts)
        for _ in range(20):
            logits = model.advance(states, [[int(row.argmax())] for row in logits])
        for prompt, state in zip(prompts, states, strict=True):
            with torch.no_grad():
                expected = network(name).generate(
                    torch.tensor([prompt]),
                    max_new_tokens=20,
                    do_sample=False,
                    eos_token_id=None,
                    attention_mask=torch.ones((1, len(prompt)), dtype=int),
                    pad_token_id=0,
                )
            assert state.tokens == expected[0].tolist()


@pytest.mark.parametrize("name", CACHED)
def test_what_was_read_is_not_read_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths = Transformers(network(name)), []
    call = model._call

    def counting(ids: list[list[int]], **options: Any) -> Any:
        widths.append(len(ids[0]))
        return call(ids, **options)

    monkeypatch.setattr(model, "_call", counting)
    state = model.start()
    model.advance([state], [[2, 3, 4]])
    branch = state.copy()
    model.advance([branch, state], [[5], [6, 7]])
    if name != "sliding":
        branch.rewind(2)
    model.advance([branch], [[8]])
    assert widths == [3, 1, 2, 1]


def test_a_model_that_raises_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Transformers(network("llama"))
    state = model.start()
    model.advance([state], [[2, 3]])
    call = model._call
    monkeypatch.setattr(model, "_call", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.advance([state], [[4]])
    monkeypatch.setattr(model, "_call", call)
    row = model.advance([state], [[5]])[0]
    np.testing.assert_allclose(row, full("llama", state.tokens), rtol=1e-4, atol=1e-4)


def test_other_dtypes_answer_in_float32() -> None:
    config = transformers.LlamaConfig(**COMMON)
    half = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = Transformers(half.train())
    row = model.advance([model.start()], [[2]])
    assert row.dtype == np.float32
    assert not half.training


def test_what_the_model_says_of_itself() -> None:
    model = Transformers(network("llama"))
    assert (model.name, model.context_length) == ("llama", 64)
    assert model.end_ids == {1}
    assert model.vocabulary[17] == b"<17>"
    assert Transformers(network("gpt2")).context_length == 64
    assert Transformers(network("mamba")).context_length is None
    with pytest.raises(ParameterError, match="prompt must be token ids: llama has no tokenizer"):
        model.encode("a")
    with pytest.raises(ParameterError, match="prompt must be token ids: llama has no tokenizer"):
        model.chat([{"role": "user", "content": "a"}])
    with pytest.raises(ParameterError, match="within the context length of 64, got 65 tokens"):
        model.advance([model.start()], [[0] * 65])
    with pytest.raises(
        ParameterError, match=r"tokens\[0\] must be an integer in \[0, 59\], got 60"
    ):
        model.advance([model.start()], [[60]])


def test_end_ids_are_those_of_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    one = network("llama")
    monkeypatch.setattr(one.generation_config, "eos_token_id", [3, 4, 99])
    assert Transformers(one).end_ids == {3, 4}
    monkeypatch.setattr(one.generation_config, "eos_token_id", None)
    assert Transformers(one).end_ids == {1}
    monkeypatch.setattr(one.config, "eos_token_id", None)
    assert Transformers(one).end_ids == frozenset()


def test_other_models() -> None:
    t5 = transformers.T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    for model in ("llama", torch.nn.Linear(2, 2), transformers.T5ForConditionalGeneration(t5)):
        with pytest.raises(ParameterError, match="model must be a causal language model of tra"):
            Transformers(model)
    with pytest.raises(ParameterError, match="rows_together must be an integer >= 1, got 0"):
        Transformers(network("llama"), rows_together=0)
    with pytest.raises(ParameterError, match="tokens_together must be an integer >= 1, got 0"):
        Transformers(network("llama"), tokens_together=0)


def test_recordings(tmp_path: Path) -> None:
    with Recorder(Transformers(network("llama")), tmp_path / "run.npy") as model:
        state = model.start()
        rows = [model.advance([state], [[token]]) for token in (3, 1, 4)]
    again = Recorded.open(tmp_path / "run.npy")
    state = again.start()
    for token, row in zip((3, 1, 4), rows, strict=True):
        assert again.advance([state], [[token]]).tobytes() == row.tobytes()


TEXT = ["the cat sat on the mat, naïve as ever; 日本 is far\n\n"] * 9


def byte_level(**options: Any) -> Any:
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXT, vocab_size=290, show_progress=False)
    fast = tokenizers.Tokenizer.from_str(trained.to_str())
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token="<|begin|>", eos_token="<|end|>", **options
    )


def sentencepiece() -> Any:
    trained = tokenizers.SentencePieceBPETokenizer()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained.train_from_iterator(
        TEXT, vocab_size=330, special_tokens=special[:3], show_progress=False
    )
    fast = tokenizers.Tokenizer.from_str(trained.to_str())
    vocab = {token: i for i, token in enumerate(special)}
    for token in sorted(fast.get_vocab(), key=fast.get_vocab().get):
        vocab.setdefault(token, len(vocab))
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    fast.model = tokenizers.models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True)
    d = tokenizers.decoders
    fast.decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def of_width(columns: int) -> Any:
    config = transformers.LlamaConfig(**COMMON | {"vocab_size": columns})
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
@pytest.mark.parametrize("text", ["the cat\n", "naïve 日本", "🙂 \t£", "  two spaces", ""])
def test_bytes_of_tokens_make_the_text(make: Any, text: str) -> None:
    tokenizer = make()
    model = Transformers(of_width(700), tokenizer)
    ids = model.encode(text)
    assert ids == tokenizer(text)["input_ids"]
    assert model.vocabulary.decode(ids) in (text, f" {text}")  # SentencePiece begins with a space


def test_special_tokens_and_columns_that_pad() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["plain added"])
    model = Transformers(of_width(320), tokenizer)
    size = len(tokenizer)
    assert len(model.vocabulary) == size < 320
    assert model.advance([model.start()], [[3]]).shape == (1, size)
    assert model.vocabulary.special == set(
        tokenizer.convert_tokens_to_ids(["<|begin|>", "<|end|>"])
    )
    assert model.vocabulary[size - 1] == b"plain added"
    with pytest.raises(ParameterError) as error:
        Transformers(of_width(size - 1), tokenizer)
    assert str(error.value) == (
        f"tokenizer must be the model's own, with at most {size - 1} tokens, got one with {size}. "
        "model.resize_token_embeddings makes room."
    )


def test_other_tokenizers() -> None:
    pieces = tokenizers.BertWordPieceTokenizer()
    pieces.train_from_iterator(TEXT, vocab_size=60, show_progress=False)
    fast = tokenizers.Tokenizer.from_str(pieces.to_str())
    wordpiece = transformers.PreTrainedTokenizerFast(tokenizer_object=fast)
    with pytest.raises(ParameterError) as error:
        Transformers(of_width(320), wordpiece)
    assert str(error.value) == (
        "tokenizer must be byte-level BPE or SentencePiece, got one with the decoder WordPiece."
    )
    with pytest.raises(ParameterError, match="tokenizer must be a fast tokenizer, with a backend_"):
        Transformers(of_width(320), "gpt2")


TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}"
    "{{ raise_exception('no tools here') }}{% endif %}"
    "{{ '<|begin|>' + message.role + ': ' + message.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|begin|>assistant: ' }}{% endif %}"
)


def test_chat() -> None:
    hello = [{"role": "user", "content": [{"type": "text", "text": "the cat"}]}]
    tokenizer = byte_level(chat_template=TEMPLATE)
    model = Transformers(of_width(320), tokenizer)
    ids = model.chat(hello)
    assert model.vocabulary.decode(ids) == "<|begin|>user: the cat<|end|><|begin|>assistant: "
    assert ids == tokenizer.apply_chat_template(
        [{"role": "user", "content": "the cat"}], add_generation_prompt=True, return_dict=False
    )
    with pytest.raises(ParameterError) as error:
        model.chat([{"role": "tool", "content": "a"}])
    assert str(error.value) == (
        "messages must be what the chat template of llama takes, got "
        "[{'role': 'tool', 'content': 'a'}]. It says: no tools here."
    )
    with pytest.raises(ParameterError, match="messages must be a non-empty array of messages"):
        model.chat([])
    plain = Transformers(of_width(320), byte_level())
    assert plain.vocabulary.decode(plain.chat(hello)) == "the cat\n\n"


@pytest.mark.parametrize("template", [calling.HERMES, calling.QWEN, calling.CODER, calling.LLAMA])
def test_calls_reach_the_template_as_objects(template: str) -> None:
    model = Transformers(of_width(320), byte_level(chat_template=template))
    given = json.dumps(calling.ARGUMENTS)
    text = model.vocabulary.decode(model.chat(calling.called(given)))
    assert text == render(template, calling.called(given))
    assert text.count('"city": "Köln <&>"') + text.count("<city>Köln <&>") == 1
    with pytest.raises(ParameterError, match=r"^messages\[1\]\.tool_calls\[0\]\.function\.arg"):
        model.chat(calling.called("{"))


@pytest.mark.parametrize("together", [1, 4])
def test_a_folder(tmp_path: Path, together: int) -> None:
    of_width(320).save_pretrained(tmp_path)
    byte_level(chat_template=TEMPLATE).save_pretrained(tmp_path)
    model = Transformers.load(str(tmp_path), rows_together=together, dtype=torch.float32)
    assert model.name == str(tmp_path)
    states = [model.start(), model.start()]
    rows = model.advance(states, [model.encode("the cat"), model.encode("the")])
    assert rows.shape == (2, len(model.vocabulary))


@pytest.mark.skipif("LOGITLAB_SMOLLM2" not in os.environ, reason="no file of SmolLM2")
def test_a_real_model() -> None:
    pytest.importorskip("gguf")
    file = Path(os.environ["LOGITLAB_SMOLLM2"])
    model = Transformers.load(str(file.parent), gguf_file=file.name)
    rows = datasets.load("smollm2")
    assert model.vocabulary == rows.vocabulary
    for prompt, ids in zip(rows.prompts, rows.prompt_ids, strict=True):
        assert model.encode(prompt) == ids.tolist()
    state = model.start()
    row = model.advance([state], [model.encode("The capital of France is")])[0]
    assert model.vocabulary.label(int(row.argmax())) == "␣Paris"
    assert model.vocabulary.label(next(iter(model.end_ids))) == "<|im_end|>"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = model.vocabulary.decode(model.chat(question))
    assert text.endswith(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_a_text_has_the_logprobs_that_generate_reported(name: str) -> None:
    """Bit for bit where one row is read at a time, whatever stands beside it; else nearly."""
    prompts = [[0, 5, 9, 30], [0, 17], [44] * 12]
    how: dict[str, Any] = {"temperature": 0.8, "top_p": 0.9}
    for width in (None, 1):
        model = Transformers(network(name), tokens_together=width)
        texts = [
            generate(model, prompt, how, seed=i, max_tokens=15, logprobs=True)
            for i, prompt in enumerate(prompts)
        ]
        tokens = [text.tokens for text in texts]
        for text, result in zip(texts, score(model, tokens, how, prompt=prompts), strict=True):
            assert text.logprobs is not None
            assert result.raw.logprobs.tobytes() == text.logprobs.logprobs.tobytes()
            assert result.processed.possible.all()
        together = Transformers(network(name), rows_together=3, tokens_together=width)
        for text, result in zip(texts, score(together, tokens, how, prompt=prompts), strict=True):
            assert text.logprobs is not None
            gap = np.abs(result.raw.logprobs - text.logprobs.logprobs).max(initial=0)
            assert gap <= 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_read_token_by_token_it_does_not_matter_where_the_prompt_ends(name: str) -> None:
    text = [0, 5, 9, 30, 17, 44, 2, 8, 21, 50]
    for width, bound in ((1, 0.0), (None, 1e-4)):
        model = Transformers(network(name), tokens_together=width)
        whole = score(model, text[1:], prompt=text[:1])
        part = score(model, text[6:], prompt=text[:6])
        assert np.abs(whole.raw.logprobs[5:] - part.raw.logprobs).max() <= bound
