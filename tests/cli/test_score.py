"""``logitlab score``: a line or a colour for each token, and what could not have been drawn."""

from __future__ import annotations

import io
import json
import math
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import score
from logitlab.cli import main
from logitlab.models import NGram

MODEL = NGram.bundled()
BEGIN = ["--prompt", "Once upon a time"]
TEXT = " there was a king who had a castle."
NAMED = "llama_cpp: Token 8, ␣castle, could not be drawn: step 1, TopK(40), removed it."

LEGEND = "probability of each token, up to: 0.001  0.01  0.1  0.5  1"


def run(*words: str) -> tuple[Any, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status: Any = main(["score", *words])
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue(), err.getvalue()


def test_the_first_impossible_token_is_named_with_its_step() -> None:
    status, out, err = run(TEXT, *BEGIN, "--engine", "llama_cpp", "--top-k", "40")
    assert status == 0
    result = score(MODEL, TEXT, {"top_k": 40}, prompt=BEGIN[1], engine="llama_cpp")
    head, *lines, empty, totals, verdict = out.splitlines()
    assert head.split() == ["token", "model", "rank", "llama_cpp"]
    assert empty == ""
    assert verdict == NAMED == f"llama_cpp: {result.processed.verdict}"
    assert len(lines) == len(result.tokens)
    for line, token, own, ruled in zip(
        lines, result.tokens, result.raw.logprobs, result.processed.logprobs, strict=True
    ):
        cells = line.split(maxsplit=3)
        assert cells[0] == MODEL.vocabulary.label(int(token))
        assert cells[1] == f"{math.exp(own):.4f}"
        assert cells[3] == ("– TopK(40)" if ruled == -np.inf else f"{math.exp(ruled):.4f}")
    assert totals == (
        f"9 tokens, 35 bytes: log-likelihood {result.raw.total:.3f} nats, "
        f"perplexity {result.raw.perplexity:.4g}, {result.raw.bits_per_byte:.4g} bits per byte."
    )
    assert "temperature is absent: llama_cpp uses 0.8." in err.splitlines()


def test_a_terminal_shows_colours_and_reverses_what_could_not_come(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = ["score", TEXT, *BEGIN, "--engine", "llama_cpp"]
    assert main([*words, "--top-k", "40"]) == 0
    colours = capsys.readouterr().out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colours)
    assert plain.startswith(f"{TEXT}\n\n{LEGEND}; reversed: ")
    assert re.findall(r"\x1b\[7;38;5;[\d;]+m(.*?)\x1b", colours) == [" castle"]
    assert NAMED in plain
    assert main([*words, "--top-k", "0", "--min-p", "0", "--top-p", "1"]) == 0
    assert "reversed" not in capsys.readouterr().out


def test_several_engines_stand_side_by_side_and_those_that_refuse_say_why() -> None:
    names = [word for name in ("vllm", "llama_cpp", "openrouter") for word in ("--engine", name)]
    status, out, _ = run(TEXT, *BEGIN, *names, "--top-p", "0")
    assert status == 0
    assert out.splitlines()[0].split() == ["token", "model", "rank", "llama_cpp", "openrouter"]
    assert out.splitlines()[-1].startswith("vllm: refused. top_p must be in (0, 1], got 0.0.")
    status, out, _ = run(TEXT, "--engine", "vllm", "--engine", "sglang", "--top-p", "7")
    assert status == 1
    assert "sglang: refused." in out
    status, _, err = run(TEXT, "--engine", "vllm", "--top-p", "0")
    assert status == 2
    assert "top_p must be in (0, 1], got 0.0." in err


def test_json_has_every_token_and_no_infinity() -> None:
    words = [TEXT, *BEGIN, "--engine", "llama_cpp", "--top-k", "40", "--json", "--end"]
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    report = json.loads(out)
    result = score(MODEL, TEXT, {"top_k": 40}, prompt=BEGIN[1], engine="llama_cpp", end=True)
    assert [token["id"] for token in report["tokens"]] == result.tokens.tolist()
    assert [token["logprob"] for token in report["tokens"]] == result.raw.logprobs.tolist()
    assert report["total"] == result.raw.total
    assert report["prompt_tokens"] == result.prompt.tolist()
    own = report["engines"]["llama_cpp"]
    assert own["tokens"][7]["logprob"] is None
    assert own["tokens"][7]["rank"] is None
    assert own["tokens"][7]["removed"] == {"cause": "step", "step": 1, "name": "TopK(40)"}
    assert own["tokens"][6]["removed"] is None
    assert own["total"] is None
    assert own["verdict"] == result.processed.verdict


def test_a_text_is_what_the_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(*words: str) -> tuple[list[int], list[int]]:
        status, out, err = run(*words, "--json")
        assert status == 0, err
        report = json.loads(out)
        return report["prompt_tokens"], [token["id"] for token in report["tokens"]]

    end = MODEL.tokenizer.end
    assert ids("300,301", "--ids") == ([end], [300, 301])
    monkeypatch.setattr("sys.stdin", io.StringIO("The king\n"))
    assert ids("-") == ([end], MODEL.encode("The king"))
    chat = MODEL.chat([{"role": "user", "content": "Tell"}])
    assert ids("Once", "--prompt", "Tell", "--chat") == (chat, MODEL.encode("Once"))
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["a"]}', "utf-8")
    _, out, _ = run('"b"', *BEGIN, "--json-schema", str(schema))
    assert "it has no place under response_format." in out
    _, out, _ = run("The king", "--engine", "llama_cpp", "--set", "mirostat=2", "--state",
                    "mirostat=0.5")  # fmt: skip
    assert "MaxSurprise(0.5" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], "text must be a text, or token ids, not empty, got ''."),
        (["5,x", "--ids"], "text must be an integer >= 0"),
        (["5000", "--ids"], "text must be an integer in [0, 4095], got 5000."),
        (["x", "--prompt", ""], "prompt must be a text, token ids or chat messages, not empty"),
        (["x", "--chat"], "--chat must be given together with --prompt, got True."),
        (["x", "--engine", "vlm"], "Did you mean vllm?"),
        (["x", "--engine", "vllm", "--engine", "vllm"], "engine must be different names"),
        (["x", "--top-p", "2"], "top_p must be in [0, 1], got 2"),
        (["x", "--state", "mirostat=2"], "--state must be absent where no step has one"),
        (["x", "--model", "no"], "model must be grimm, a .gguf file or a recorded .npy, got 'no'."),
        (["x", "--end", "--end"], "given twice"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], message: str) -> None:
    status, out, err = run(*words)
    assert status == 2
    assert out == ""
    assert message in err
