"""What transformers answers for a few texts and conversations: see ``record.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.tiny_llama import KINDS, TEMPLATE

__all__ = ["CHATS", "FILE", "KINDS", "SMOLLM2_TEXTS", "TEMPLATES", "TEXTS", "load"]

FILE = Path(__file__).parent / "transformers.json"

TEXTS = [
    "",
    " ",
    "aB",
    "aB  aB",
    "  aB 12 a1 1a 112 1 2 ",
    "1212121 2122",
    "½2 1½",
    "a's B't it'll 'Ll 'S a'",
    "''s t's",
    "a\n\nB\r\n  \n a\t\tB \t",
    "!..a !a. .'. 12.\n\n!!\r",
    "\u3000a \u3000 B\u3000",
    "日日 é é. a日é",
    "<|start|>a<|end|>\n<|end|> <user>B<user>",
    "<|en d|> <|end|",
]

SMOLLM2_TEXTS = [
    *TEXTS,
    "def f(x):\n    return x ** 2  # 1024 bits\n",
    "In 1984, 12345.67 people; 3½ ²",
    "Grüße, naïve café — “quotes” … ¿qué?",
    "日本語のテキスト 한국어 عربى हिन्दी",
    "👩‍👩‍👧 😀😀 \U0001f1e9\U0001f1ea",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>",
    '{"a": [1, 2.5e-3, null],\n\t"b": "\\u00e9"}',
]

TEMPLATES = {
    "tiny": TEMPLATE,
    "llama-3": (
        "{{- bos_token }}{%- if tools is not none %}tools{%- endif %}\n"
        "{%- for message in messages %}\n"
        "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}\n"
        "    {{- message['content'] | trim + '<|eot_id|>' }}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant' }}{%- endif %}\n"
    ),
    "helpers": (
        "{% for m in messages %}\n"
        "    {% if loop.index > 3 %}{% break %}{% endif %}\n"
        "  {% if m.role == 'system' %}{% continue %}{% endif %}\n"
        "{% generation %}{{ m | tojson }}{{ {'é<': [1, none]} | tojson(indent=1) }}"
        "{% endgeneration %}\n"
        "{% set ns = namespace(n=0) %}{% set ns.n = loop.index %}{{ ns.n }}{{ eos_token }}\n"
        "{% endfor %}\n"
    ),
}

CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": " 2+2? <b>&\n\n日本"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "12345"},
    ],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": "<|end|>é"}],
]


def load() -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return answers
