"""The pytest plugin, as the tests of an application use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import json
from urllib.request import Request, urlopen
from urllib.error import HTTPError

import pytest


def ask(server, text, **more):
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 9, "seed": 1, **more}
    request = Request(f"{server.url}/chat/completions", json.dumps(body).encode())
    return json.load(urlopen(request))["choices"][0]["message"]["content"]


def test_rules_and_journal(logitlab_server):
    assert logitlab_server.rules == []
    logitlab_server.rules = [{"match": "capital", "text": "Paris."}, {"status": 429}]
    assert ask(logitlab_server, "The capital?") == "Paris."
    with pytest.raises(HTTPError, match="429"):
        ask(logitlab_server, "Hello")
    assert [entry["status"] for entry in logitlab_server.journal] == [200, 429]
    assert logitlab_server.journal[0]["request"]["messages"][0]["content"] == "The capital?"
    with pytest.raises(ValueError, match=".text must be a text, got 5."):
        logitlab_server.rules = [{"text": 5}]


def test_the_next_test_begins_anew(logitlab_server):
    assert logitlab_server.journal == []
    assert ask(logitlab_server, "The capital?") != "Paris."
"""


def run(*command: str, folder: Path) -> str:
    variables = {**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = subprocess.run(
        [sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_a_test_has_a_server_with_a_model_of_its_own_if_it_likes(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    own = tmp_path / "own"
    own.mkdir()
    (own / "conftest.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture(scope='session')\n"
        "def logitlab_model():\n"
        "    from logitlab.models import NGram\n"
        "    return NGram.fit('a rose is a rose', vocabulary_size=260, name='rose')\n"
    )
    (own / "test_model.py").write_text(
        "import json\nfrom urllib.request import urlopen\n\n"
        "def test_it(logitlab_server):\n"
        "    told = json.load(urlopen(f'{logitlab_server.url}/models'))\n"
        "    assert told['data'][0]['id'] == 'rose'\n"
    )
    options = "-p", "logitlab_pytest", "-W", "error", "-q"
    assert "3 passed" in run("-m", "pytest", *options, folder=tmp_path)


def test_it_imports_nothing_before_it_is_used(tmp_path: Path) -> None:
    code = (
        "import sys, pytest\n"
        "before = {*sys.modules}\n"
        "import logitlab_pytest\n"
        "new = {name.split('.')[0] for name in {*sys.modules} - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    assert run("-c", code, folder=tmp_path).strip() == "['logitlab_pytest']"
