"""The files of real servers, and how one is run and ended: with or without any engine."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from logitlab.models import Gguf
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from verification.servers import running as module
from verification.servers.asking import post
from verification.servers.files import tiny_weights, write_folder
from verification.servers.running import SERVERS, Server, is_installed, running

TEXT = "Once upon a time there was an old goat who had seven little kids. \u00bd 12!"


def test_a_folder_holds_the_model_of_the_file(tiny_file: Path, tmp_path: Path) -> None:
    folder = write_folder(tiny_file, tmp_path / "folder")
    tensors = load_file(folder / "model.safetensors")
    weights = tiny_weights()
    assert len(tensors) == len(weights)
    names = {"blk.1.attn_q": "model.layers.1.self_attn.q_proj", "output": "lm_head"}
    names |= {"blk.0.attn_k": "model.layers.0.self_attn.k_proj"}
    names |= {"blk.0.ffn_down": "model.layers.0.mlp.down_proj", "output_norm": "model.norm"}
    for name, theirs in names.items():
        np.testing.assert_array_equal(tensors[f"{theirs}.weight"], weights[name])


def test_its_tokenizer_is_the_same(tiny_file: Path, tiny_model: Gguf, tmp_path: Path) -> None:
    folder = write_folder(tiny_file, tmp_path / "folder")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    assert ids == tiny_model.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert len(ids) < len(TEXT) / 2  # words, and not letters


def test_the_first_tokens_are_uncertain_and_whole(tiny_model: Gguf) -> None:
    for prompt in ("Name a city.", "Say yes or no.", "Write a word."):
        ids = tiny_model.chat([{"role": "user", "content": prompt}])
        row = tiny_model.advance([tiny_model.start()], [ids])[0].astype(float)
        probs = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        assert 2 < -(probs * np.log(probs)).sum() < 5
        best = [tiny_model.vocabulary[int(token)] for token in np.argsort(-probs)[:20]]
        assert all(piece.isascii() for piece in best)


def test_what_is_not_installed_is_said_not_to_be() -> None:
    here = [name for name in SERVERS if is_installed(name)]
    assert is_installed("vllm") == ("vllm" in here)
    for name in SERVERS:
        assert module.INSTALL[name].startswith("pip install ")


def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(python: str, model: str, port: int, slots: int) -> list[str]:
        return [python, "-c", "import sys; print('no such model'); sys.exit(3)"]

    monkeypatch.setitem(module._COMMANDS, "llama_cpp", fails)
    with (
        pytest.raises(RuntimeError, match=r"^It ended with 3: no such model\n$"),
        running("llama_cpp", tmp_path / "none.gguf"),
    ):
        pass


SLOW = """
import sys, http.server, signal, subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"child": %d}' % child.pid)
    do_POST = do_GET
signal.signal(signal.SIGTERM, signal.SIG_IGN)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_ends_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(python: str, model: str, port: int, slots: int) -> list[str]:
        return [python, "-c", SLOW, str(port)]

    monkeypatch.setitem(module._COMMANDS, "vllm", stubborn)
    monkeypatch.setattr(module, "_GRACE", 0.2)
    with running("vllm", tmp_path, python=sys.executable) as server:
        assert server.model == "model"
        status, answer = post(server.url, {})
        assert status == 200
        assert _lives(answer["child"])
        assert _lives(server.pid)
    assert not _lives(server.pid)
    assert not _lives(answer["child"])
    assert post(server.url, {})[0] == 0


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_llama_servers_model_is_this_one(tiny_llama_server: Server, tiny_model: Gguf) -> None:
    """The same file there and here: as near as its products of rounded numbers are."""
    messages = [{"role": "user", "content": "Name a city."}]
    asked = {"messages": messages, "max_tokens": 1, "logprobs": True, "top_logprobs": 10}
    _, answer = post(f"{tiny_llama_server.url}/chat/completions", asked)
    [entry] = answer["choices"][0]["logprobs"]["content"]
    ids = tiny_model.chat(messages)
    row = tiny_model.advance([tiny_model.start()], [ids])[0].astype(float)
    row -= np.logaddexp.reduce(row)
    for top in entry["top_logprobs"]:
        assert top["logprob"] == pytest.approx(row[top["id"]], abs=0.02)
