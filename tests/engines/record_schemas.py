"""Ask the servers' own schemas what they make of odd values, and store the answers.

``vectors/schemas.json`` has for each server a list of [request, file, answer]: what the sampler is
given, or the text of the error. The file is what stands in a model's ``generation_config.json``.
The first answer is whole, the others say what differs from it.

* vllm 0.32.0: ``ChatCompletionRequest`` and its ``to_sampling_params``.
* sglang 0.5.23: the same, and ``SamplingParams.verify`` for a vocabulary of 100.
* transformers_serve 5.23.0: ``ChatCompletionHandler``, validation and generation config.
* mlx_lm_server 0.32.2: ``APIHandler.do_POST``, up to the arguments of the generation.
* llama_cpp: llama-server of xllamacpp 2026.10.11549 with SmolLM2 on an address that is given: the
  ``generation_settings`` that ``/completion`` answers with.

    python tests/engines/record_schemas.py [http://127.0.0.1:8080]
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

VECTORS = Path(__file__).parent / "vectors"
KEYS = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "seed", "logit_bias", "max_tokens",
)  # fmt: skip
ODD: list[dict[str, Any]] = [
    {}, {"temperature": "0.5"}, {"temperature": True}, {"temperature": None}, {"top_p": None},
    {"frequency_penalty": None}, {"presence_penalty": None}, {"top_k": None}, {"n": None},
    {"logprobs": None}, {"stop": None}, {"seed": None}, {"logit_bias": None}, {"max_tokens": None},
    {"top_k": 4.0}, {"top_k": 2.7}, {"top_k": "5"}, {"top_k": "5.0"}, {"top_k": " 5 "},
    {"top_k": True}, {"top_k": 0}, {"temperature": " 1e-1 "}, {"seed": 4.0}, {"seed": True},
    {"seed": "7"}, {"seed": 2.5}, {"seed": -1}, {"seed": 2**63}, {"seed": 2**63 - 1},
    {"seed": -(2**63)}, {"seed": -(2**63) - 1}, {"seed": 2**33 - 1}, {"seed": 2**32 + 5},
    {"seed": -4294967291}, {"seed": 2**64 - 1}, {"seed": 2**64 + 7}, {"seed": 1e30},
    {"top_k": 2**32 + 5}, {"top_k": 2**31}, {"top_k": -(2**32) + 7}, {"top_k": 1e30},
    {"top_k": -3}, {"top_p": True}, {"frequency_penalty": True},
    {"top_logprobs": 2}, {"top_logprobs": 0}, {"top_logprobs": -1},
    {"top_logprobs": 2.0, "logprobs": True}, {"top_logprobs": -2, "logprobs": True},
    {"logprobs": 5, "top_logprobs": 1}, {"logprobs": "yes", "top_logprobs": 1},
    {"max_tokens": 4.0}, {"max_tokens": "4"}, {"min_tokens": -1},
    {"min_tokens": 6, "max_tokens": 5}, {"min_tokens": 5, "max_tokens": 5},
    {"n": 2, "temperature": 0}, {"n": 2, "temperature": 1e-6}, {"n": 0}, {"n": 16385},
    {"n": 2, "top_k": 1}, {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": True}, "stream": True}, {"stream_options": {}},
    {"use_beam_search": True, "logprob_token_ids": [1], "logprobs": True},
    {"logprob_token_ids": [1]}, {"prompt_logprobs": 2, "stream": True}, {"tools": []},
    {"tool_choice": "auto"}, {"regex": "a", "ebnf": "b"},
    {"logit_bias": {"5": "1.5"}}, {"logit_bias": {"5": True}}, {"logit_bias": {"5": False}},
    {"logit_bias": {"5": None}}, {"logit_bias": {"5": "x"}}, {"logit_bias": {"x": 1}},
    {"logit_bias": {" 5": 1}}, {"logit_bias": {"+5": 1}}, {"logit_bias": {"05": 1}},
    {"logit_bias": {"5": 1, "05": 2}}, {"logit_bias": {"5": 200}}, {"logit_bias": {"5": 1.5}},
    {"logit_bias": {}}, {"logit_bias": [[5, 1.5]]}, {"logit_bias": [[5, False]]},
    {"logit_bias": [[5, True]]}, {"logit_bias": [[5, 1], [5, 2]]}, {"logit_bias": [5]},
    {"logit_bias": [[5]]}, {"logit_bias": [[5.7, 1]]}, {"logit_bias": 5}, {"logit_bias": "x"},
    {"logit_bias": {"-1": 1}}, {"logit_bias": {"4294967301": 1}}, {"logit_bias": {"": 1}},
    {"logit_bias": {" cat": 1}}, {"logit_bias": [[" cat dog", 1]]}, {"logit_bias": [["5", 1]]},
    {"logit_bias": {"5.5": 1}}, {"nonsense": 1}, {"nonsense": None}, {"top_a": 0.2},
    {"mirostat": 3}, {"mirostat": -1}, {"mirostat": 2.9},
    {"samplers": ["nonsense"]}, {"samplers": ["penalties", "top_a"]}, {"samplers": "tq?k"},
    {"samplers": 5}, {"samplers": [5]}, {"samplers": ["top_k", 5]}, {"samplers": {"a": 1}},
    {"samplers": "dkpymtxea"}, {"samplers": "TK"}, {"samplers": []}, {"samplers": ""},
    {"samplers": "top_k"}, {"samplers": ["top_k", "top_k"]}, {"samplers": None},
    {"samplers": True}, {"samplers": ["Top-K", "NUCLEUS", "temp", "typ", "min-p", "TOPP", "XTC"]},
    {"samplers": ["topk", "typp", "minp", "topnsigma", "top-n-sigma", "adaptivep", "DRY"]},
    {"samplers": ["typical", "typical_p", "penalty", " top_k", "top_n-sigma", "temperature"]},
    {"repeat_last_n": 5.9}, {"repeat_last_n": True}, {"repeat_last_n": -1},
    {"repeat_last_n": 2**32 + 5}, {"repeat_last_n": 2**31}, {"repeat_last_n": 2**40},
]  # fmt: skip
FILES: list[dict[str, Any]] = [
    {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "eos_token_id": [1, 2]},
    {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.05, "max_new_tokens": 7, "do_sample": True},
    {"presence_penalty": 0.5, "frequency_penalty": 0.25, "do_sample": True},
    {"temperature": 0.001, "do_sample": True}, {"top_p": 0, "do_sample": True}, {"top_k": -1},
    {"temperature": 0.0}, {"temperature": 0.6}, {"max_new_tokens": 2000, "do_sample": True},
]  # fmt: skip
ASKED: list[dict[str, Any]] = [
    {}, {"temperature": 0.5}, {"n": 2}, {"top_p": 0.5, "min_tokens": 9}, {"max_tokens": 3},
    {"frequency_penalty": 0.5}, {"generation_config": '{"top_k": 3, "do_sample": true}'},
]  # fmt: skip
MESSAGES = [{"role": "user", "content": "Hi"}]
UNLIMITED = 10_000


def vllm(request: dict[str, Any], file: dict[str, Any]) -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    names = (*KEYS[:7], "max_new_tokens")  # of ModelConfig.get_diff_sampling_param
    defaults = {key: file[key] for key in names if file.get(key) is not None}
    limit = defaults.pop("max_new_tokens", None)
    body = ChatCompletionRequest(messages=MESSAGES, model="x", **request)
    asked = body.max_tokens if body.max_tokens is not None else limit
    return vars_of(body.to_sampling_params(asked if asked is not None else UNLIMITED, defaults))


def sglang(request: dict[str, Any], file: dict[str, Any]) -> Any:
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
    from sglang.srt.sampling.sampling_params import SamplingParams

    names = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
    defaults = {key: file[key] for key in names if file.get(key) is not None}
    body = ChatCompletionRequest(messages=MESSAGES, model="x", **request)
    asked = body.to_sampling_params([], defaults)
    SamplingParams(**asked).verify(100)
    return {
        **{key: asked.get(key) for key in KEYS},
        "seed": asked["sampling_seed"],
        "max_tokens": asked["max_new_tokens"],
    }


def transformers_serve(request: dict[str, Any], file: dict[str, Any]) -> Any:
    from transformers import GenerationConfig, SequenceBiasLogitsProcessor
    from transformers.cli.serving.chat_completion import ChatCompletionHandler

    handler = ChatCompletionHandler(None, SimpleNamespace(_compile=False))
    body = {"messages": MESSAGES, **request}
    handler._validate_request(body)
    config = handler._build_generation_config(body, GenerationConfig(**file))
    if config.sequence_bias:
        SequenceBiasLogitsProcessor(config.sequence_bias)
    bias = {ids[0]: x for ids, x in (config.sequence_bias or {}).items()}
    names = ("repetition_penalty", *(KEYS[:4] if config.do_sample else ()))
    return {
        **dict.fromkeys(KEYS[:4]),
        **{key: getattr(config, key) for key in names},
        "logit_bias": bias,
        "max_tokens": config.max_new_tokens,
        "do_sample": bool(config.do_sample),
    }


def mlx_lm_server(request: dict[str, Any], file: dict[str, Any]) -> Any:
    import mlx.core as mx

    from engines.own_code import mlx_lm

    args = mlx_lm._read(request, limits=True)
    if args.seed is not None:
        mx.random.seed(args.seed)
    return {
        **{key: getattr(args.sampling, key, None) for key in KEYS},
        **{key: getattr(args.logits, key) for key in KEYS if hasattr(args.logits, key)},
        "seed": args.seed,
        "max_tokens": args.max_tokens,
    }


def llama_cpp(request: dict[str, Any], file: dict[str, Any]) -> Any:
    # One slot and no stream: n and these are for others.
    body = {"prompt": "Hi", "n_predict": 1, **request, "stream": False, "n": 1, "max_tokens": 1}
    try:
        settings = _posted("/completion", body)["generation_settings"]
        if {"top_logprobs", "tools", "tool_choice"} & request.keys():
            _posted("/v1/chat/completions", {"messages": MESSAGES, **body})
    except urllib.error.HTTPError as error:
        raise ValueError(json.loads(error.read())["error"]["message"]) from None
    # An entry for each addition; null is minus infinity.
    bias = [[entry["token"], entry["bias"]] for entry in settings["logit_bias"]]
    return {
        **{key: settings.get(key) for key in (*KEYS, "mirostat", "samplers", "repeat_last_n")},
        "repetition_penalty": settings["repeat_penalty"],
        "logit_bias": bias,
        "max_tokens": None,
    }


def _posted(path: str, body: Any) -> Any:
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(sys.argv[1] + path, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def vars_of(values: Any) -> dict[str, Any]:
    """Return what a sampler is given, by key."""
    return {key: getattr(values, key, None) for key in KEYS}


def _text(error: Exception) -> str:
    """Return the text of an error, without where it was found."""
    text = str(getattr(error, "detail", None) or error)
    if "validation error" in text:
        text = text.splitlines()[2].strip().partition(" [type=")[0]
    return text.partition(" (parameter=")[0]


def main() -> None:
    path = VECTORS / "schemas.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    servers = [vllm, sglang, transformers_serve, mlx_lm_server]
    for ask in [*servers, *([llama_cpp] if len(sys.argv) > 1 else [])]:
        file = {"do_sample": True} if ask is transformers_serve else {}
        pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [(request, file) for request in ODD]
        if ask in servers[:3]:
            pairs += [(request, file) for file in FILES for request in ASKED]
        rows: list[Any] = []
        for request, file in pairs:
            try:
                answer = ask(json.loads(json.dumps(request)), dict(file))
            except Exception as error:
                answer = _text(error)
            if rows and not isinstance(answer, str):
                answer = {key: x for key, x in answer.items() if x != rows[0][2][key]}
            rows.append([request, file, answer])
        stored[ask.__name__] = rows
    lines = (
        f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]"
        for name, rows in stored.items()
    )
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
