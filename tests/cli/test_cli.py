"""The command line: what it prints, and what it says of mistakes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import SamplingParams, chat, compare_engines, engines, generate, sample
from logitlab.cli import main
from logitlab.datasets import load
from logitlab.engines.differences import difference_tables
from logitlab.models import NGram
from logitlab.request.params import parameter_table
from logitlab.steps.context import Context


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command: in this process, or in one of its own where it needs an environment."""
    if not environment:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status: Any = main(arguments)
            except SystemExit as stop:
                status = stop.code
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())
    return subprocess.run(
        [sys.executable, "-m", "logitlab", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | environment,
        check=False,
    )


def ok(*arguments: str, **environment: str) -> str:
    result = run(*arguments, **environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_demo_shows_stages_and_draws_quickly() -> None:
    start = time.perf_counter()
    lines = ok("demo", PYTHONUTF8="1").splitlines()
    assert time.perf_counter() - start < 20  # about half a second; this catches a blunder
    assert "Once upon a time" in lines[0]
    assert lines[1].startswith("Chain(RepetitionPenalty(1.1), Temperature(0.8), TopK(50)")
    header = next(i for i, line in enumerate(lines) if line.startswith("stage"))
    stages = lines[header + 1 : header + 7]
    names = [line.split()[0] for line in stages]
    assert names == [
        "logits",
        "RepetitionPenalty(1.1)",
        "Temperature(0.8)",
        "TopK(50)",
        "TopP(0.9)",
        "MinP(0.05)",
    ]
    assert stages[0].split()[1] == "49152"
    assert stages[3].split()[1] == "50"
    assert len({line.index("␣king") for line in stages}) == 1  # aligned
    draws = lines.index("10 draws, seed 7:")
    assert len(lines[draws + 1].split("  ")) == 10
    assert ok("demo").splitlines() == lines


def test_trace_json_is_what_the_library_says() -> None:
    report = json.loads(
        ok(
            "trace",
            "--row",
            "5",
            "--temperature",
            "1.5",
            "--top-p",
            "0.9",
            "--seed",
            "-3",
            "--frequency-penalty",
            "0.5",
            "--logit-bias",
            "28=-100",
            "--logit-bias",
            "3=2",
            "--draws",
            "4",
            "--top",
            "3",
            "--json",
        )
    )
    rows = load()
    params = SamplingParams(
        temperature=1.5, top_p=0.9, seed=-3, frequency_penalty=0.5, logit_bias={28: -100, 3: 2}
    )
    assert report["request"] == params.to_request()
    context = Context(prompt=rows.prompt_ids[5])
    trace = engines.openrouter(params).trace(rows.logits[5], context)
    assert [stage["name"] for stage in report["stages"]] == list(trace.names)
    assert [stage["kept"] for stage in report["stages"]] == trace.kept.tolist()
    assert [stage["entropy"] for stage in report["stages"]] == trace.entropy.tolist()
    assert [stage["mass_removed"] for stage in report["stages"]] == trace.mass_removed.tolist()
    assert [len(stage["top"]) for stage in report["stages"]] == [3, 3, 3, 3, 2]
    best = int(trace.logits[-1].argmax())
    assert report["stages"][-1]["top"][0]["id"] == best
    assert report["stages"][-1]["top"][0]["label"] == rows.vocabulary.label(best)
    draws = sample(rows.logits[5], params, context=context, size=4)
    assert [token["id"] for token in report["draws"]["tokens"]] == draws.tokens.tolist()
    assert report["draws"]["seed"] == -3


def test_a_bundled_row_by_its_prompt() -> None:
    assert "row 16, multilingual: '日本の首都は'" in ok("trace", "--prompt", "日本")


def test_bundled_rows_in_bfloat16() -> None:
    words = ("--row", "12", "--dtype", "bfloat16", "--top-k", "50")
    assert "row 12, repetition, bfloat16: 'the the" in ok("trace", *words, "--engine", "vllm")
    report = json.loads(ok("trace", *words, "--engine", "vllm", "--json"))
    assert [stage["kept"] for stage in report["stages"]] == [49152, 55]
    report = json.loads(ok("trace", *words[:2], *words[4:], "--engine", "vllm", "--json"))
    assert [stage["kept"] for stage in report["stages"]] == [49152, 50]
    assert ok("trace", "--row", "1", "--seed", "1") == ok(
        "trace", "--row", "1", "--seed", "1", "--dtype", "float32"
    )
    found = json.loads(ok("engines", *words, "--json"))["engines"]
    assert (found["vllm"]["kept"], found["sglang"]["kept"]) == (55, 50)
    assert "must be one of 'float32', 'bfloat16', got 'bf16'" in run("trace", "--dtype=bf16").stderr


def test_own_logits(tmp_path: Path) -> None:
    file = tmp_path / "mine.npy"
    np.save(file, np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32)))
    output = ok("trace", "--logits", str(file), "--row", "1", "--top-k", "2", "--seed", "1")
    assert f"row 1 of {file}" in output
    assert "#2 0.778" in output
    with_penalty = ok(
        "trace", "--logits", str(file), "--prompt-ids", "0,0", "--frequency-penalty", "1"
    )
    assert "FrequencyPenalty(1.0)" in with_penalty
    one = tmp_path / "one.npy"
    np.save(one, np.zeros(4))
    assert "TopK(1)" in ok("trace", "--logits", str(one), "--top-k", "1", "--draws", "0")


def test_params_prints_the_table() -> None:
    assert ok("params").strip() == f"{parameter_table()}\n\n{parameter_table(beyond=True)}"


@pytest.mark.parametrize("columns", ["20", "60", "80", "400"])
def test_the_table_fits_the_terminal(columns: str) -> None:
    lines = ok("trace", "--row", "19", "--top-k", "5", COLUMNS=columns).splitlines()
    table = lines[lines.index("") + 1 : lines.index("") + 4]
    if int(columns) >= 80:
        assert max(map(len, table)) <= int(columns)
        assert len(table[1].split()) > 6
    assert len(table[1].split()) >= 6  # at least one token


def test_a_plain_terminal_is_no_error() -> None:
    assert "?king" in ok("demo", PYTHONUTF8="0", PYTHONIOENCODING="ascii")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m logitlab params | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert result.stderr == ""


MISTAKES = [
    (["--top-p", "1.3"], "top_p must be in [0, 1], got 1.3."),
    (["--temperature", "hot"], "temperature must be a number in [0, 2], got 'hot'."),
    (["--temperature", "nan"], "temperature must be in [0, 2], got nan."),
    (["--top-k", "2.5"], "top_k must be an integer >= 0, got 2.5."),
    (["--seed", "x"], "seed must be an integer, got 'x'."),
    (["--row", "20"], "--row must be an integer in [0, 19], got 20."),
    (["--row", ""], "--row must be an integer in [0, 19], got ''."),
    (["--top-k", "1_0"], "got '1_0'."),
    (["--logit-bias", "5=1", "--logit-bias", "5=2"], "--logit-bias must be given once for each"),
    (["--row", "a"], "--row must be an integer in [0, 19], got 'a'."),
    (["--draws", "-1"], "--draws must be an integer in [0, 1000000], got -1."),
    (["--top", "-1"], "--top must be an integer in [0, 49152], got -1."),
    (["--logit-bias", "49152=1"], "keys are token ids in [0, 49151], got 49152."),
    (
        ["--prompt", "no such"],
        "--prompt must be part of exactly one bundled prompt, got 'no such'.",
    ),
    (["--prompt", "the"], "--prompt must be part of exactly one bundled prompt, got 'the'."),
    (["--prompt", "upon", "--row", "3"], "--row must be absent where --prompt is given, got '3'."),
    (["--prompt-ids", "1"], "--prompt-ids must be given together with --logits, got '1'."),
    (["--logits", "no.npy"], "--logits must be an existing file of logits, got 'no.npy'."),
    (["--logits", "pyproject.toml"], "--logits must be a file of logits: .npy, "),
    (
        ["--logits", "x.npy", "--dtype", "bfloat16"],
        "--dtype must be absent where --logits is given",
    ),
    (["--logits", "x.npy", "--prompt", "y"], "--prompt must be absent where --logits is given"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes_are_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("logitlab: error: ")
    assert message in captured.err


def test_mistakes_in_own_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(array: object, *arguments: str) -> str:
        file = tmp_path / "mine.npy"
        np.save(file, array, allow_pickle=True)  # type: ignore[arg-type]
        assert main(["trace", "--logits", str(file), *arguments]) == 2
        return capsys.readouterr().err

    assert "It holds pickled objects, which could run any code" in error(np.array([object()]))
    assert "--logits must be float16, bfloat16, float32 or float64, got int64." in error(
        np.arange(5)
    )
    assert "--logits must be free of NaN, got NaN." in error(np.array([0.0, np.nan]))
    assert "--row must be an integer in [0, 1], got 2." in error(np.zeros((2, 2)), "--row", "2")
    batch = np.zeros((2, 3, 4))
    assert "--row must be an integer in [0, 5], got 6." in error(batch, "--row", "6")
    assert "--logits must be of at least one row, got shape (0, 2)." in error(np.zeros((0, 2)))
    assert "with V at least 1, got shape (2, 0)." in error(np.zeros((2, 0)))
    assert "--prompt-ids must be given with a penalty, got None. A penalty counts" in error(
        np.zeros(4), "--presence-penalty", "1"
    )
    assert "--prompt-ids must be an integer in [0, 3], got [1, 'x']." in error(
        np.zeros(4), "--prompt-ids", "1,x", "--presence-penalty", "1"
    )
    assert "--prompt-ids must be an integer in [0, 3], got 9." in error(
        np.zeros(4), "--prompt-ids=9"
    )
    assert "--prompt-ids must be an integer in [0, 3], got ['']." in error(
        np.zeros(4), "--prompt-ids", ""
    )


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04junk", b"\x93NUMPY\x01\x00\x08\x00{'de((\n"])
def test_junk_files_are_one_clear_line(
    junk: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "junk.npy"
    file.write_bytes(junk)
    assert main(["trace", "--logits", str(file)]) == 2
    assert "--logits must be a .npy file of logits, got" in capsys.readouterr().err


def test_a_full_disk_is_one_clear_line() -> None:
    command = f"{sys.executable} -m logitlab params > /dev/full"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("logitlab: error: cannot write the output: ")
    assert result.stderr.count("\n") == 1


def test_negative_numbers_of_every_spelling() -> None:
    for value in ("-0.5", "-1e-3", "-.5", "-1"):
        output = ok("trace", "--frequency-penalty", value, "--draws", "0")
        assert f"FrequencyPenalty({float(value)})" in output


def test_json_survives_a_plain_terminal() -> None:
    plain = ok("trace", "--seed", "1", "--json", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert json.loads(plain) == json.loads(ok("trace", "--seed", "1", "--json"))


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["trace", "--tempreature", "1"]])
def test_unknown_words_exit_with_two(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: logitlab" in result.stderr
    assert len(result.stderr.splitlines()) < 8  # or the options hide what is wrong
    assert "Traceback" not in result.stderr


def test_version_and_help() -> None:
    assert ok("--version") == f"logitlab {ll.__version__}\n"
    assert "--repetition-penalty" in ok("trace", "--help")


def test_engines_compares_and_names_the_stage() -> None:
    text = ok("engines", "--row", "3", "--temperature", "2", "--top-p", "0.8", COLUMNS="100")
    lines = text.splitlines()
    assert "Once upon a time" in lines[0]
    assert lines[1] == "request: temperature 2, top_p 0.8"
    shown = lines[4 : 4 + len(engines.MAIN)]
    assert [line.split()[1] for line in shown][:6] == [
        *("openrouter", "openai", "vllm", "sglang", "aphrodite", "exllamav3"),
    ]
    assert sorted(line.split()[1] for line in shown) == sorted(engines.MAIN)
    assert all(len(line) <= 100 for line in shown)
    (line,) = [line for line in lines if line.startswith("A E")]
    assert line.startswith("A E  at temperature: mlx_lm applies it last (0.7246)")
    assert "top_k is absent: llama_cpp uses 40." in lines


def test_engines_tells_who_refuses_and_goes_on() -> None:
    text = ok("engines", "--row", "0", "--temperature", "2.5", "--engines", "vllm,llama_cpp")
    assert "–  vllm: refused. temperature must be in [0, 2], got 2.5. vllm refuses" in text
    assert "A  llama_cpp" in text
    nobody = run("engines", "--row", "0", "--top-p", "0", "--engines", "vllm,sglang")
    assert nobody.returncode == 1
    assert "–  sglang: refused. top_p must be in (0, 1], got 0.0." in nobody.stdout


def test_engines_json_is_what_the_library_says() -> None:
    report = json.loads(
        ok(
            "engines",
            "--row",
            "13",
            "--presence-penalty",
            "1",
            "--set",
            "repeat_last_n=3",
            "--engines",
            "vllm, llama_cpp",
            "--json",
        )
    )
    rows = load()
    comparison = compare_engines(
        rows.logits[13],
        {"presence_penalty": 1, "repeat_last_n": 3},
        context=Context(prompt=rows.prompt_ids[13]),
        engines=["vllm", "llama_cpp"],
    )
    assert list(report["engines"]) == ["vllm", "llama_cpp"]
    assert report["engines"]["llama_cpp"]["chain"] == repr(comparison.chains["llama_cpp"])
    assert report["total_variation"] == comparison.total_variation.tolist()
    stages = report["partings"][0]["stages"]
    assert [stage["key"] for stage in stages] == [
        stage.key for stage in comparison.partings("vllm", "llama_cpp")
    ]


def test_engines_takes_all_engines_and_own_logits(tmp_path: Path) -> None:
    np.save(tmp_path / "row.npy", np.array([3.0, 1.0, 1.0, 1.0, 0.0]))
    text = ok(
        "engines",
        "--logits",
        str(tmp_path / "row.npy"),
        "--engines",
        "all",
        "--top-k",
        "2",
        "--temperature",
        "1",
        "--top",
        "2",
    )
    for name in engines.ENGINES:
        assert name in text
    assert "#0 0.881" in text


def test_trace_tells_what_an_engine_does_not_read_in_either_form() -> None:
    asked = ["trace", "--top-a", "0.2", "--engine", "vllm"]
    [note] = json.loads(ok(*asked, "--json"))["notes"]
    assert (note["key"], note["effect"]) == ("top_a", "ignored")
    assert ok(*asked).splitlines()[-1] == note["sentence"]
    assert "foo is not modelled here" in ok("trace", "--set", "foo=1")


def test_trace_tells_how_likely_one_token_is(tmp_path: Path) -> None:
    rows = load()
    [king] = [i for i in range(49152) if rows.vocabulary[i] == b" king"]
    x = rows.logits[3].astype(np.float64)
    probs = np.sort(np.exp(x - x.max()) / np.exp(x - x.max()).sum())[::-1]
    p = np.exp(x[king] - x.max()) / np.exp(x - x.max()).sum()
    kept = 1 + int(np.searchsorted(probs.cumsum(), 0.5))
    expected = p / probs[:kept].sum()
    asked = ["trace", "--row", "3", "--top-p", "0.5"]
    for token in (["--token", "␣king"], ["--token", " king"], ["--token-id", str(king)]):
        text = ok(*asked, *token)
        assert f"␣king (id {king}) is drawn with probability {expected:.6g}: number 1 of" in text
        told = json.loads(ok(*asked, *token, "--json"))["token"]
        assert told["stages"] == pytest.approx([p, expected], rel=1e-6)
        assert (told["token"], told["rank"], told["kept"]) == (king, 1, kept)
        assert told["probability"] == pytest.approx(expected, rel=1e-6)
    text = ok(*asked, "--token", "␣zebra")
    assert "cannot be drawn: TopP(0.5) removes it." in text
    np.save(tmp_path / "row.npy", np.array([1.0, 0.0]))
    for arguments, message in (
        (["--row", "3", "--token", "kingqueen"], "--token must be"),
        (["--row", "3", "--token-id", "49152"], "--token-id must be an integer in [0, 49151]"),
        (["--logits", str(tmp_path / "row.npy"), "--token", "a"], "--token must be absent where"),
        (["--token", "a", "--token-id", "3"], "not allowed with"),
    ):
        result = run("trace", *arguments)
        assert result.returncode == 2
        assert message in result.stderr


def test_trace_shows_the_chain_of_an_engine() -> None:
    text = ok("trace", "--row", "3", "--engine", "llama_cpp", "--top-p", "0.5", "--seed", "1")
    assert "SortedChain(TopK(40), TopP(0.5), MinP(0.05), Temperature(0.8))" in text
    assert "10 draws of logitlab's own generator, seed 1:" in text
    assert text.splitlines()[-1] == "min_p is absent: llama_cpp uses 0.05."
    own = ok(
        "trace", "--engine", "mlx_lm", "--set", "presence_context_size=3", "--presence-penalty", "1"
    )
    assert "PresencePenalty(1.0, last_n=3)" in own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engines", "nobody"], "engine must be one of 'openrouter'"),
        (["--engines", "vllm,vllm"], "engines must be different names, one at least"),
        (["--set", "samplers"], "--set must be KEY=VALUE, got 'samplers'."),
        (["--set", "=1"], "--set must be KEY=VALUE, got '=1'."),
        (["--set", "top_k=3", "--top-k", "3"], "--set must be of keys that are given once"),
        (["--set", "temperature=NaN"], "temperature must be a finite number, got 'NaN'."),
        (["--temperature", "hot"], "temperature must be a finite number, got 'hot'."),
        (["--row", "99"], "--row must be an integer in [0, 19], got 99."),
    ],
)
def test_engines_says_what_is_wrong(arguments: list[str], message: str) -> None:
    result = run("engines", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_engines_wants_the_context_of_own_logits(tmp_path: Path) -> None:
    np.save(tmp_path / "row.npy", np.zeros(5))
    result = run("engines", "--logits", str(tmp_path / "row.npy"), "--presence-penalty", "1")
    assert result.returncode == 2
    assert "--prompt-ids must be given with a penalty" in result.stderr


def test_engines_prints_what_is_declared() -> None:
    text = ok("engines", "--about", "--engines", "vllm,mlx_lm")
    assert text.rstrip() == f"{engines.vllm!s}\n\n{engines.mlx_lm!s}"


def test_engines_prints_the_differences() -> None:
    assert ok("engines", "--differences").rstrip() == difference_tables()
    every = ok("engines", "--differences", "--engines", "all")
    assert every.rstrip() == difference_tables(engines.ENGINES)
    chains, requests, beyond = every.split("\n\n")
    assert chains.count("\n| `") == requests.count("\n| `") == len(engines.ENGINES)
    assert beyond.count("\n| `") == 41


def test_generate_writes_on_the_bundled_model() -> None:
    words = [
        "generate",
        "Once upon a time",
        "--temperature",
        "0.9",
        "--min-p",
        "0.05",
        "--seed",
        "7",
        "--max-tokens",
        "80",
    ]
    result = run(*words)
    assert result.returncode == 0
    params = SamplingParams(temperature=0.9, min_p=0.05, seed=7, max_tokens=80)
    answer = generate(NGram.bundled(), "Once upon a time", params)
    assert result.stdout == answer.text + "\n"
    assert result.stderr == "max_tokens 80 was reached. (4 + 80 tokens, seed 7)\n"
    assert run(*words).stdout == result.stdout


def test_generate_takes_stop_verbosity_and_several_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run("generate", "There was", "--n", "2", "--seed", "1", "--stop", ".", "--stop", ";")
    first, second = generate(NGram.bundled(), "There was", n=2, seed=1, stop=[".", ";"])
    assert result.stdout == f"--- 1 of 2\n{first.text}\n--- 2 of 2\n{second.text}\n"
    assert "was found at character" in result.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO())
    low = run("generate", "-", "--verbosity", "low", "--seed", "1", "--max-tokens", "5")
    assert low.returncode == 2  # nothing comes from standard input
    assert "prompt must be a text, token ids or chat messages, not empty" in low.stderr


def test_generate_as_json_tells_every_token() -> None:
    report = json.loads(run("generate", "A", "--json", "--seed", "3", "--max-tokens", "4").stdout)
    [answer] = report["answers"]
    whole = generate(NGram.bundled(), "A", seed=3, max_tokens=4, logprobs=True)
    assert whole.logprobs is not None
    assert answer["text"] == whole.text
    assert [token["id"] for token in answer["tokens"]] == whole.tokens.tolist()
    assert [token["logprob"] for token in answer["tokens"]] == whole.logprobs.logprobs.tolist()
    assert answer["finish"] == "max_tokens 4 was reached."


def test_generate_shows_probabilities_as_lines_or_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["generate", "Once upon", "--seed", "3", "--max-tokens", "6", "--show-probs"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert len({line.rindex(" ") for line in lines}) == 1  # aligned
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(words) == 0
    colours = capsys.readouterr().out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colours)
    text = generate(NGram.bundled(), "Once upon", seed=3, max_tokens=6).text
    assert plain == f"{text}\n\nprobability of each token, up to: 0.001  0.01  0.1  0.5  1\n"
    assert colours.count("\x1b[38;5;") == 6 + 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "--max-tokens", "0"], "max_tokens must be an integer >= 1, got 0."),
        (["x", "--stop", ""], "stop must be an array of non-empty strings"),
        (["x", "--n", "0"], "--n must be an integer >= 1, got 0."),
        (["x", "--model", "no"], "model must be grimm, a .gguf file or a recorded .npy, got 'no'."),
        (["x", "--verbosity", "loud"], "verbosity must be one of 'low', 'medium', 'high'"),
        (["x", "--logit-bias", "5000=1"], "logit_bias must be a map whose keys are token ids in"),
    ],
)
def test_generate_says_what_is_wrong(words: list[str], message: str) -> None:
    result = run("generate", *words)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_chat_answers_a_request_body(tmp_path: Path) -> None:
    request = {"messages": [{"role": "user", "content": "Once"}], "seed": 3, "max_tokens": 6}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request), "utf-8")
    body = json.loads(ok("chat", str(file)))
    whole = chat(NGram.bundled(), request)
    assert body["choices"] == whole["choices"]
    events = ok("chat", str(file), "--stream").split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    file.write_text(json.dumps({**request, "top_p": 2}), "utf-8")
    refusal = run("chat", str(file))
    assert refusal.returncode == 2
    assert json.loads(refusal.stdout)["error"]["metadata"] == {"parameter": "top_p"}
    stream = run("chat", str(file), "--stream")
    assert stream.returncode == 2
    assert stream.stdout == refusal.stdout
    file.write_text("{", "utf-8")
    assert "request must be a file of JSON" in run("chat", str(file)).stderr
    assert "request must be a readable file" in run("chat", str(tmp_path / "none.json")).stderr


def test_generate_under_a_schema(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    schema = {"type": "array", "items": {"enum": ["a", 1, None]}, "minItems": 2, "maxItems": 4}
    file.write_text(json.dumps(schema), "utf-8")
    result = run("generate", "A", "--json-schema", str(file), "--seed", "1", "--temperature", "2")
    assert result.returncode == 0, result.stderr
    assert 2 <= len(json.loads(result.stdout)) <= 4
    file.write_text('{"uniqueItems": true}', "utf-8")
    twice = run(
        "generate", "A", "--json-schema", str(file), "--set", 'response_format={"type":"text"}'
    )
    assert twice.returncode == 2
    assert "--set must be of keys that are given once, got response_format." in twice.stderr
    refusal = run("generate", "A", "--json-schema", str(file))
    assert "uniqueItems must be absent: it cannot be enforced" in refusal.stderr


def test_a_state_is_where_a_row_and_a_text_begin() -> None:
    asked = ["--mirostat", "2", "--state", "mirostat=1.5"]
    report = json.loads(ok("trace", "--row", "3", *asked, "--seed", "1", "--json"))
    assert report["state"] == {"mirostat": 1.5}
    assert report["chain"] == "Chain(MaxSurprise(1.5))"
    text = json.loads(ok("generate", "A", *asked, "--max-tokens", "3", "--seed", "1", "--json"))
    model = ll.models.NGram.bundled()
    state = {"mirostat": 1.5}
    alone = ll.generate(model, "A", {"mirostat": 2}, seed=1, max_tokens=3, state=state)
    assert text["answers"][0]["state"] == alone.state
    assert "MaxSurprise(1.5)" in ok("trace", "--row", "3", *asked)
    swept = ok("sweep", "--mirostat", "2", "--state", "mirostat=0", "--metrics", "support")
    assert swept.splitlines()[1].split(",")[-1] == "1.0"
    assert "openrouter     1" in ok("engines", "--engines", "openrouter", "--row", "3",
                                   "--mirostat", "2", "--state", "mirostat=0")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--state", "mirostat"], "--state must be NAME=VALUE with a number, got 'mirostat'."),
        (["--state", "mirostat=x"], "--state must be NAME=VALUE with a number, got 'mirostat=x'."),
        (["--state", "mirostat=1", "--state", "mirostat=2"], "--state must be given once for each"),
        (["--state", "mu=1"], "--state must be a map whose keys are among ['mirostat'], got 'mu'."),
        (["--state", "mirostat=nan"], "--state must be finite, got nan."),
        (["--guidance-scale", "2"], "--guidance-scale must be 1 for a row of logits, got 2."),
    ],
)
def test_what_is_wrong_with_a_state_is_said(words: list[str], message: str) -> None:
    result = run("trace", "--mirostat", "2", *words)
    assert result.returncode == 2
    assert message in result.stderr


def test_generate_moves_away_from_a_negative_prompt() -> None:
    asked = ["--guidance-scale", "3", "--max-tokens", "6", "--seed", "1"]
    model = ll.models.NGram.bundled()
    written = run("generate", "Once", *asked, "--negative-prompt", "5").stdout
    request = {"guidance_scale": 3, "negative_prompt": "5", "max_tokens": 6}
    assert written == ll.generate(model, "Once", request, seed=1).text + "\n"
    ids = run("generate", "Once", *asked, "--negative-prompt-ids", "[5, 6]").stdout
    request = {"guidance_scale": 3, "negative_prompt_ids": [5, 6], "max_tokens": 6}
    assert ids == ll.generate(model, "Once", request, seed=1).text + "\n"
