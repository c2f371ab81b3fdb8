"""The document says what the server takes, and the server takes what the document says."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from logitlab import PARAMETERS
from logitlab.engines import ENGINES
from logitlab.models import NGram
from logitlab.server import app
from logitlab.server.about import supported_parameters
from logitlab.server.openapi import parameter_schema

from asking import ask

MODEL = NGram.bundled()


@pytest.fixture(scope="module")
def document() -> Any:
    return ask(app(MODEL), "GET", "/openapi.json").json()


def test_every_route_is_described_and_every_description_has_a_route(document: Any) -> None:
    server = app(MODEL)
    for path, operations in document["paths"].items():
        for method in operations:
            response = ask(server, method.upper(), path.replace("{id}", "grimm"))
            assert response.status_code in (200, 400)
            assert str(response.status_code) in operations[method]["responses"]
        response = ask(server, "PATCH", path.replace("{id}", "grimm"))
        assert response.status_code == 405
        allowed = {name.lower() for name in response.headers["allow"].split(", ")}
        assert allowed == {*operations}
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(names) == len({*names})
    assert document["openapi"] == "3.1.0"
    assert "security" not in document
    headers = {"authorization": "Bearer k"}
    keyed = ask(app(MODEL, api_key="k"), "GET", "/openapi.json", headers=headers).json()
    assert keyed["security"] == [{"key": []}]


def test_every_schema_is_one_and_every_parameter_is_in_it(document: Any) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert {*supported_parameters(ENGINES["openrouter"])} <= {*schemas["chat"]["properties"]}
    assert {*PARAMETERS} - {*schemas["chat"]["properties"]} <= {"negative_prompt",
                                                               "negative_prompt_ids"}  # fmt: skip


@pytest.mark.parametrize("key", [key for key, each in PARAMETERS.items() if each.range])
def test_a_range_is_that_of_the_server(key: str, document: Any) -> None:
    schema = document["components"]["schemas"]["chat"]["properties"].get(key)
    server = app(MODEL)
    assert schema == parameter_schema(PARAMETERS[key])
    ends = {name: schema[name] for name in ("minimum", "maximum") if name in schema}
    for name, end in ends.items():
        beyond = end - 1 if name == "minimum" else end + 1
        for value, status in ((end, 200), (beyond, 400)):
            request = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, key: value}
            request |= {"logprobs": True} if key == "top_logprobs" else {}
            response = ask(server, "POST", "/v1/chat/completions", json=request)
            assert response.status_code == status, response.text


def test_an_engine_of_other_ranges_has_none_in_its_document() -> None:
    document = ask(app(MODEL, engine="vllm"), "GET", "/openapi.json").json()
    chat = document["components"]["schemas"]["chat"]["properties"]
    assert "maximum" not in chat["repetition_penalty"]
    assert "top_a" not in chat
    assert document["info"]["title"] == "logitlab: grimm at vllm"


def test_the_tokenizer_is_told_as_lm_eval_asks_for_it() -> None:
    told = ask(app(MODEL), "GET", "/tokenizer_info").json()
    assert (told["eos_token"], told["bos_token"]) == ("<|end|>", None)
    assert told["model_max_length"] == MODEL.context_length
