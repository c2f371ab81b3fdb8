"""Odd values of JSON, and files of defaults: read as the servers' own code reads them."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, engines
from logitlab.engines.rules import RefusalError
from logitlab.request.params import NEUTRAL
from pydantic import TypeAdapter, ValidationError

from engines.record_schemas import VECTORS

RECORDED: dict[str, list[Any]] = json.loads((VECTORS / "schemas.json").read_text())
# How llama-server tokenised these with SmolLM2: recorded there, too.
TOKENS = {" cat": [2644], " cat dog": [2644, 2767], "5": [37], "5.5": [37, 30, 37], "x": [104]}
# A number of logprobs is no true at llama-server, but beside top_logprobs alone.
# A file that comes with a request is read by one server alone, and here wherever there is one. Ids
# below 0 are refused later than recorded, or write from the end of a row; an empty bias stops
# transformers later, too.
ROWS = [
    (name, *row)
    for name, rows in RECORDED.items()
    for row in rows
    if name == "transformers_serve" or "generation_config" not in row[0]
    if row[0] != {"logit_bias": {"-1": 1}} or name == "llama_cpp"
    if name != "transformers_serve" or row[0] != {"logit_bias": {}}
    if name != "llama_cpp" or not {"n", "max_tokens", "stream"} & row[0].keys()
    if name != "llama_cpp" or row[0].get("logprobs") != 5
]


def given_to_the_sampler(name: str, request: dict[str, Any], file: dict[str, Any]) -> Any:
    """Return what logitlab makes of a request, by key, or the error."""
    engine = engines.get(name)
    if file:
        engine = engine.with_options(generation_config=file)
    given = engine.read(request, TOKENS.__getitem__)
    size = {"sglang": 100, "llama_cpp": 49152}.get(name)
    translation = engine.arrive(given, size)
    limit = given.get("max_tokens", translation.max_tokens)
    return {**translation.values, "seed": given.get("seed"), "max_tokens": limit}


@pytest.mark.parametrize(("name", "request_", "file", "answer"), ROWS)
def test_a_request_is_read_as_the_server_reads_it(
    name: str, request_: dict[str, Any], file: dict[str, Any], answer: Any
) -> None:
    if isinstance(answer, str):
        with pytest.raises(RefusalError) as error:
            given_to_the_sampler(name, request_, file)
        said = plain(str(error.value))
        is_dropped = name == "mlx_lm_server" and "seed" in request_ and "TypeError" in said
        assert is_dropped or plain(answer.partition(", but is {")[0]) in said
        return
    ours = given_to_the_sampler(name, request_, file)
    whole = {**RECORDED[name][0][2], **answer}
    if "samplers" in answer:  # what it leaves out has a value, and no effect
        whole = {"samplers": answer["samplers"]}
    elif answer.get("mirostat"):
        whole = {key: whole[key] for key in ("mirostat", "temperature")}
    elif whole["temperature"] == 0 or whole.get("do_sample") is False:
        # What a greedy server truncates by is nobody's business.
        whole = {key: x for key, x in whole.items() if key not in ("top_k", "top_p", "min_p")}
        whole.pop("temperature" if whole.get("do_sample") is False else "", None)
    assert {key: ours_of(name, ours, key) for key in whole} == {
        key: theirs_of(name, key, value, whole) for key, value in whole.items()
    }


INTEGERS = (
    "7", " 7\n", "+7", "-7", "007", "7.0", "7.00", "7.", ".0", "7.5", "7e0", "0x7", "", " ", "- 7",
    "7 .0", "1_000", "1_0.0", "1__0", "_1", "1_", "+_1", "1.0_0", "\u0667", "9" * 20 + ".0",
    "9" * 300,
)  # fmt: skip


@pytest.mark.parametrize("text", INTEGERS)
def test_an_integer_in_a_text_is_read_as_pydantic_reads_it(text: str) -> None:
    theirs: int | None = None
    with suppress(ValidationError):
        theirs = TypeAdapter(int).validate_python(text)
    if theirs is not None:
        assert engines.vllm.read({"seed": text})["seed"] == theirs
        return
    with pytest.raises(ParameterError, match="seed must be an integer, got"):
        engines.vllm.read({"seed": text})


def test_llama_server_reads_ids_beyond_64_bits_as_none() -> None:
    for bias in ([[2**64 + 5, 1]], {str(2**63 + 5): 1, "x": False}):
        assert (
            dict(engines.llama_cpp.read({"logit_bias": bias}, lambda text: ())["logit_bias"]) == {}
        )


def plain(text: str) -> str:
    """Return a text without what differs by type alone, quotes, or the order of a set."""
    text = re.sub(r"generation_config\['(\w+)'\]", r"\1", text)
    for word in (".0", "'", '"'):
        text = text.replace(word, "")
    _, braces, names = text.partition("Unexpected fields in the request: {")
    if braces:
        text = braces + ", ".join(sorted(names.partition("}")[0].split(", ")))
    return text.rstrip(" .")


def ours_of(name: str, ours: dict[str, Any], key: str) -> Any:
    """Return what reaches our chain, and what a draw takes, in the terms of the tests."""
    value = ours.get(key)
    if key == "do_sample":
        file = ours["generation_config"]
        return ours["temperature"] != 0 and bool(file is None or file.get("do_sample"))
    if key == "seed" and name == "llama_cpp":
        return 0xFFFFFFFF if value is None else seed_of(name, value)
    if key == "seed" and value == -1:
        return None  # vLLM's way to say that there is none
    return list(value or ()) if key == "samplers" else value


def seed_of(name: str, value: int) -> int:
    """Return the seed that an engine draws with, by a draw that tells: all ones for a fresh one."""
    flat = {"top_k": 0, "top_p": 1, "min_p": 0, "temperature": 1}
    row = np.zeros(1 << 12)
    try:
        token = engines.get(name).draw(row, {**flat, "seed": value})
    except ParameterError:
        return 0xFFFFFFFF
    seeds = {0, value % 2**32} - {0xFFFFFFFF}
    drawn = {int(engines.get(name).draw(row, {**flat, "seed": seed})): seed for seed in seeds}
    return drawn.get(int(token), -1)


def theirs_of(name: str, key: str, value: Any, whole: dict[str, Any]) -> Any:
    """Return a recorded value in our terms."""
    default = RECORDED[name][0][2].get(key)
    if key == "max_tokens" and name != "transformers_serve":
        return None if value == default else value
    if key == "logit_bias":
        pairs = value.items() if isinstance(value, dict) else value or ()
        bias: dict[int, float] = {}
        for token, amount in pairs:
            added = -math.inf if amount is None else amount
            # llama-server adds what it lists, the others take the last.
            bias[int(token)] = added + (bias.get(int(token), 0) if name == "llama_cpp" else 0)
        return bias
    if key == "seed" and value == -1:
        return None
    if value is None and key not in ("seed", "max_tokens"):
        return {"top_k": 50}.get(key, NEUTRAL[key])
    if (key, value) in (("top_k", -1), ("repetition_penalty", 0.0)):
        return NEUTRAL[key]
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


def test_a_schema_tells_what_it_changed() -> None:
    assert str(engines.llama_cpp.translate({"top_k": 2.7})).splitlines()[0] == (
        "top_k 2.7 is read as 2 by llama_cpp."
    )
    assert "temperature '0.5' is read as 0.5 by vllm." in str(
        engines.vllm.translate({"temperature": "0.5"})
    )
    assert not engines.vllm.translate({"top_k": 4.0}).notes
    assert "top_k true is read as 1 by vllm." in str(engines.vllm.translate({"top_k": True}))
    assert "do_sample is absent: tgi uses false." in str(engines.tgi.translate({}))
    for flag in (True, False):
        with pytest.raises(ParameterError, match="cannot unmarshal bool into Go struct field"):
            engines.ollama_openai.translate({"temperature": flag})
