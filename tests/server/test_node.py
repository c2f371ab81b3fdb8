"""OpenAI's own client for JavaScript, on node, against a server on a port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from logitlab.models import NGram
from logitlab.server.run import Background
from logitlab.wire.chat import chat
from logitlab.wire.completions import complete

MODEL = NGram.bundled()
CLIENT = "openai@6.49.0"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Kassel", "Hanau"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
NODE, NPM = shutil.which("node"), shutil.which("npm")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the script, in a folder where its client is installed."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(Path(__file__).with_name("client.mjs"), folder)
    command = [str(NPM), "install", "--no-audit", "--no-fund", "--ignore-scripts", CLIENT]
    got = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert not got.returncode, got.stderr
    return folder / "client.mjs"


@pytest.mark.skipif(not (NODE and NPM), reason="needs node and npm")
@pytest.mark.skipif(
    not os.environ.get("LOGITLAB_NODE"), reason="installs from npm: LOGITLAB_NODE=1"
)
def test_openais_client_for_javascript(script: Path) -> None:
    asked: dict[str, Any] = {
        "model": "grimm",
        "messages": [{"role": "user", "content": "Once upon a time"}],
        "seed": 7,
        "max_tokens": 40,
        "logprobs": True,
        "top_logprobs": 2,
    }
    calls = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 80}
    with Background(MODEL) as server:
        command = [str(NODE), script.name, server.url, json.dumps(asked), json.dumps(calls)]
        run = subprocess.run(
            command, cwd=script.parent, capture_output=True, text=True, timeout=120
        )
        assert run.stderr == ""
    told = json.loads(run.stdout)
    expected = chat(MODEL, asked)
    choices, whole = expected["choices"], told["whole"]
    assert whole["choices"] == choices
    assert whole["usage"] == told["usage"] == expected["usage"]
    assert told["text"] == choices[0]["message"]["content"]
    [call] = told["calls"]
    [known] = chat(MODEL, {**asked, **calls})["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == known["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == json.loads(known["function"]["arguments"])
    written = complete(MODEL, {"prompt": "The king", "seed": 1, "max_tokens": 5})
    assert told["completion"] == written["choices"][0]["text"]
    assert told["response"]
    assert told["events"][0] == "response.created"
    assert told["events"][-1] in ("response.completed", "response.incomplete")
    assert told["models"] == ["grimm"]
    refused = told["refused"]
    assert (refused["kind"], refused["status"]) == ("BadRequestError", 400)
    assert "top_p must be in [0, 1], got 2." in refused["message"]
