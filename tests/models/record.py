"""Record what transformers answers, into ``transformers.json``.

    python tests/models/record.py SmolLM2-135M-Instruct.Q4_1.gguf

Needs transformers, torch (which its reader of GGUF files uses), gguf and accelerate, not logitlab.
The digits of SmolLM2 are split as its own ``tokenizer.json`` says, which that reader ignores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.recorded import CHATS, FILE, SMOLLM2_TEXTS, TEMPLATES, TEXTS
from models.tiny_llama import KINDS, MERGES, TOKENS


def tiny(split: str) -> Any:
    """Return the tokenizer class that has this way to cut words, with the tiny vocabulary."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import GPT2Tokenizer, Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    names = {"unk_token": "<|unknown|>", "bos_token": "<|start|>", "eos_token": "<|end|>"}
    if split == "llama-bpe":

        class Converter(TikTokenConverter):  # type: ignore[misc]
            def tokenizer(self) -> Any:
                model = models.BPE(vocabulary, MERGES, fuse_unk=False, ignore_merges=True)
                return Tokenizer(model)

        found = Converter(vocab_file="").converted()
    else:
        kind = Qwen2Tokenizer if split == "qwen2" else GPT2Tokenizer
        found = kind(vocab=vocabulary, merges=MERGES, **names).backend_tokenizer
    if split == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        found.pre_tokenizer = pre_tokenizers.Sequence([digits, found.pre_tokenizer])
    whole = [token for token, kind in zip(TOKENS, KINDS, strict=True) if kind != 1]
    found.add_special_tokens([AddedToken(token, normalized=False) for token in whole])
    return found


def main() -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer
    from transformers.utils.chat_template_utils import render_jinja_template

    path = Path(sys.argv[1]).resolve()
    answers: dict[str, Any] = {"ids": {}, "chats": {}}
    for split in ("gpt-2", "llama-bpe", "qwen2", "smollm"):
        encode = tiny(split).encode
        answers["ids"][split] = [encode(text, add_special_tokens=False).ids for text in TEXTS]
    for name, template in TEMPLATES.items():
        rendered, _ = render_jinja_template(
            CHATS,
            chat_template=template,
            add_generation_prompt=True,
            bos_token="<|start|>",
            eos_token="<|end|>",
        )
        answers["chats"][name] = rendered
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).symlink_to(path)
        smollm2 = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend = smollm2.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    answers["smollm2"] = {
        "ids": [smollm2(text, add_special_tokens=False)["input_ids"] for text in SMOLLM2_TEXTS],
        "chats": [
            smollm2.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            for chat in CHATS
        ],
    }
    lines = json.dumps(answers, ensure_ascii=False, separators=(",", ":"))
    FILE.write_text(lines + "\n", "utf-8")


if __name__ == "__main__":
    main()
