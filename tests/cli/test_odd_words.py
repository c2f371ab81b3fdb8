"""Odd command lines: one clear line each, the right status, and never a traceback."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab.cli import main
from logitlab.datasets import load
from logitlab.models import NGram, load_vocabulary


def run(*words: str) -> tuple[Any, str, str]:
    """Return status, output and messages of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status: Any = main(words)
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue(), err.getvalue()


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    whole = command.replace("logitlab", f"{sys.executable} -m logitlab", 1)
    env = os.environ | environment
    return subprocess.run(["bash", "-c", whole], capture_output=True, env=env, check=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("one.npy", np.log([0.5, 0.3, 0.2]))
    np.save("rows.npy", np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32))
    np.save("empty.npy", np.zeros((0, 5)))
    np.save("flat.npy", np.zeros((3, 0)))
    vocabulary = {
        "model": {"type": "BPE", "vocab": {"Ġa": 0, "b": 1}, "merges": []},
        "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"id": 2, "content": "<end>", "special": True}],
    }
    Path("tokenizer.json").write_text(json.dumps(vocabulary))
    Path("bad.json").write_text("{")
    Path("twice.json").write_text('{"type": "object", "of": [{"a": 1, "a": 1}]}')
    messages = [{"role": "user", "content": "x"}]
    Path("chat.json").write_text(json.dumps({"messages": messages, "seed": 1, "max_tokens": 3}))
    return tmp_path


BIAS = "--logit-bias must be ID=VALUE, a token id >= 0 and a number, got "
ODD: list[tuple[str, str]] = [
    *(
        (f"trace --logit-bias {text}", f"{BIAS}{text!r}. Write 5=-100 to ban token 5.")
        for text in ("5:-100", "-1=1", "5=", "=5", "a=1", "5=nan", "5=inf", "5=1=2", "5", "5.0=1")
    ),
    ("trace --logit-bias=-1=1", f"{BIAS}'-1=1'"),
    ("generate x --logit-bias 5:1", f"{BIAS}'5:1'"),
    ("sweep --top-k 1 --logit-bias 5:1", f"{BIAS}'5:1'"),
    ("trace --logit-bias 5=1 --logit-bias 05=2", "--logit-bias must be given once for each token"),
    ("trace --top-p .5 --top-p .9", "argument --top-p: given twice"),
    ("trace --json --json", "argument --json: given twice"),
    ("engines --engines vllm --engines sglang", "argument --engines: given twice"),
    ("trace --tempreature 1", "Did you mean --temperature?"),
    ("trace --temp 1", "Did you mean --temperature?"),
    ("tracee", "Did you mean trace?"),
    ("trace --engine vlm", "Did you mean vllm?"),
    ("sweep --top-k 1 --engine vlm", "Did you mean vllm?"),
    ("engines --engines vlm", "Did you mean vllm?"),
    ("trace --coupling inverze", "Did you mean inverse?"),
    ("sweep --top-k 1 --metrics entropi", "Did you mean entropy?"),
    ("sweep --top-k 1 --reduce mea", "Did you mean mean?"),
    ("claims --parameter temprature", "Did you mean temperature?"),
    ("generate x --verbosity hihg", "Did you mean high?"),
    ("trace --set temprature=0.1", "temprature must be a known key, got 0.1. Did you mean temper"),
    ("generate x --set topP=0.1", "topP must be a known key, got 0.1. Did you mean top_p?"),
    ("engines --set maxTokens=1", "Did you mean max_tokens?"),
    ("sweep --top-k 1 --set temprature=1", "Did you mean temperature?"),
    ("trace --set n=3", "n must be 1 where single tokens are sampled, got 3."),
    ("sweep --top-k 1 --set n=3", "n must be 1 where single tokens are sampled, got 3."),
    ("generate x --n 2 --set n=2", "--set must be of keys that are given once"),
    ("generate x --n 99999999", "--n must be at most 65536, got 99999999."),
    ("generate x --json --show-probs", "not allowed with argument"),
    ("generate x --sequence -1", "--sequence must be an integer in [0, "),
    ("trace --sequence x", "--sequence must be an integer in [0, "),
    ("trace --output-ids 99999999", "--output-ids must be an integer in [0, 49151]"),
    ("trace --output-ids x", "--output-ids must be an integer in [0, 49151]"),
    ("trace --vocabulary tokenizer.json", "--vocabulary must be given together with --logits"),
    ("trace --logits one.npy --vocabulary bad.json", "--vocabulary must be a tokenizer.json or a"),
    ("trace --logits one.npy --vocabulary no.json", "No such file or directory."),
    ("trace --logits empty.npy", "--logits must be of at least one row, got shape (0, 5)"),
    ("sweep rows.npy --top-k 1,1", "top_k must be free of values that are given twice, got 1."),
    ("sweep --top-k 1 --engine vllm,vllm", "engine must be free of values that are given twice"),
    ("sweep empty.npy --top-k 1", "rows must be at least one row, got shape (0, 5)."),
    ("sweep flat.npy --top-k 1", "with V at least 1, got shape (3, 0)."),
    ("sweep --top-k 0:99999999:1", "--top-k must be ranges of at most 1000000 values"),
    ("sweep --temperature 0:1:.0001 --top-p 0:1:.0001", "grid must be of at most 1000000 points"),
    (
        "sweep --top-k 1 --workers 99999999",
        "--workers must be an integer in [1, 1024], got 99999999.",
    ),
    (
        "sweep --top-k 1 --draws 99999999999",
        "--draws must be at most 3355443 for chunks of 20 ",
    ),
    ("sweep --top-k 1 --metrics x", "--metrics must be functions, or among "),
    ("sweep rows.npy --presence-penalty 1 --prompt-ids 99", "--prompt-ids must be token ids in"),
    ("sweep rows.npy --presence-penalty 1 --output-ids 99", "--output-ids must be token ids in"),
    ("engines --engines vllm,vllm", "--engines must be different names, one at least"),
    ("engines --engines ,", "--engines must be different names, one at least"),
    ("engines --engines vllm,,sglang", "--engines must be different names, one at least"),
    ("engines --about --engines vllm,vllm", "--engines must be different names, one at least"),
    ("engines --about --differences", "not allowed with argument"),
    ("engines --about --top-p .5", "--top-p must be absent beside --about and --differences"),
    ("engines --differences --set a=1", "--set must be absent beside --about and --differences"),
    ("chat bad.json", "request must be a file of JSON"),
    ("chat twice.json", "request must be JSON without a key that is there twice, got 'a'."),
    ("chat chat.json --model no.gguf", "--model must be a GGUF file that exists, got 'no.gguf'."),
    ("generate x --model no.gguf", "--model must be a GGUF file that exists, got 'no.gguf'."),
    ("generate x --json-schema twice.json", "--json-schema must be JSON without a key that is t"),
    (
        'trace --set a={"b":1,"b":2}',
        "--set must be JSON without a key that is there twice, got 'b'",
    ),
    ("claims --write bad.json", "--write must be a directory that can be written, got 'bad.json'"),
    ("params x", "unrecognized arguments: x"),
]


@pytest.mark.parametrize(("line", "message"), ODD, ids=[line for line, _ in ODD])
def test_odd_words(line: str, message: str, folder: Path) -> None:
    status, out, err = run(*line.split())
    assert status == 2
    assert message in err
    assert out == ""


def test_foreign_keys_are_told_by_every_command(folder: Path) -> None:
    for line in ("trace --draws 0", "engines --engines vllm", "generate x --max-tokens 1", "sweep "
                 "--top-k 1 --quiet"):  # fmt: skip
        status, out, err = run(*line.split(), "--set", "user=me", "--set", "my_own=1")
        assert status == 0
        for key in ("user", "my_own"):
            assert f"{key} is not modelled here" in out + err


def test_a_mark_of_the_byte_order_is_no_text(folder: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (folder / "marked.json").write_bytes(mark + (folder / "chat.json").read_bytes())
    (folder / "marked.txt").write_bytes(mark + b"Once\n")
    assert run("chat", "marked.json")[0] == 0
    assert shell("logitlab chat - < marked.json").returncode == 0
    words = "--seed 1 --max-tokens 3"
    status, plain, _ = run("generate", "Once", *words.split())
    assert status == 0
    assert shell(f"logitlab generate - {words} < marked.txt").stdout.decode() == plain


def test_where_every_engine_refuses_the_status_is_1() -> None:
    for extra in ([], ["--json"]):
        words = ["engines", "--top-p", "0", "--engines", "vllm,sglang", *extra]
        status, out, _ = run(*words)
        assert status == 1
        assert "top_p must be in (0, 1], got 0.0." in out
    assert run("engines", "--top-p", "0", "--engines", "vllm,openrouter")[0] == 0


def test_tokens_of_the_output_are_counted() -> None:
    asked = ["--presence-penalty", "1", "--row", "3"]
    told = "presence_penalty: vllm counts the output alone: 0 tokens."
    assert told in run("trace", "--engine", "vllm", *asked)[1]
    assert told in run("engines", "--engines", "vllm,openrouter", *asked)[1]
    # SGLang's one step is two penalties, of which one was sent.
    assert told.replace("vllm", "sglang") in run("trace", "--engine", "sglang", *asked)[1]
    status, out, _ = run("trace", "--engine", "vllm", *asked, "--output-ids", "5,5", "--json")
    assert status == 0
    report = json.loads(out)
    assert "counts the output alone" not in out
    rows = load()
    context = ll.Context(rows.prompt_ids[3], [5, 5])
    trace = ll.trace(rows.logits[3], {"presence_penalty": 1}, engine="vllm", context=context)
    assert report["stages"][-1]["entropy"] == float(trace.entropy[-1])
    compared = json.loads(run("engines", *asked, "--output-ids", "5,5", "--json")[1])
    own = ll.compare_engines(rows.logits[3], {"presence_penalty": 1}, context=context)
    assert compared["total_variation"] == own.total_variation.tolist()


def test_a_sweep_counts_the_output(folder: Path) -> None:
    words = "sweep rows.npy --frequency-penalty 0,2 --engine vllm --output-ids 1,1 --quiet"
    status, out, _ = run(*words.split(), "--prompt-ids", "3")
    context = ll.Context([3], [1, 1])
    grid = {"frequency_penalty": [0, 2]}
    assert status == 0
    assert out == ll.sweep(folder / "rows.npy", grid, engine="vllm", context=context).to_csv()


def test_a_sweep_tells_that_no_output_is_counted(folder: Path) -> None:
    words = "sweep --frequency-penalty 0,1,2 --engine vllm,openrouter --quiet"
    told = "frequency_penalty: vllm counts the output alone: 0 tokens. --output-ids gives them.\n"
    assert run(*words.split())[2] == told
    assert run(*words.split(), "--output-ids", "5")[2] == ""
    one = "sweep rows.npy --presence-penalty 0,1 --engine sglang --prompt-ids 3 --quiet"
    told = "presence_penalty: sglang counts the output alone: 0 tokens. --output-ids gives them.\n"
    assert run(*one.split())[2] == told


def test_a_sequence_is_that_of_the_library(folder: Path) -> None:
    words = "trace --row 3 --seed 7 --sequence 5 --draws 4 --temperature 2 --json"
    report = json.loads(run(*words.split())[1])["draws"]
    draws = ll.sample(load().logits[3], {"temperature": 2}, seed=7, sequence=5, size=4)
    assert [token["id"] for token in report["tokens"]] == draws.tokens.tolist()
    assert report["sequence"] == 5
    words = "generate Once --seed 7 --sequence 5 --max-tokens 6"
    _, out, _ = run(*words.split())
    text = ll.generate(NGram.bundled(), "Once", seed=7, sequence=5, max_tokens=6).text
    assert out == text + "\n"


def test_ones_own_tokens_have_names(folder: Path) -> None:
    own = ["--logits", "one.npy", "--vocabulary", "tokenizer.json"]
    _, out, _ = run("trace", *own, "--draws", "2", "--seed", "1", "--token", "␣a")
    assert "␣a (id 0) is drawn with probability 0.5: number 1 of 3 tokens." in out
    assert "␣a 0.500  b 0.300  <end> 0.200" in run("engines", *own, "--engines", "openrouter")[1]
    # A row may be padded; a vocabulary of more tokens is another one.
    wide = ["--logits", "rows.npy", "--vocabulary", "tokenizer.json", "--top", "12"]
    assert {"␣a", "b", "<end>", "#11"} <= {*run("trace", *wide, "--draws", "0")[1].split()}
    np.save("small.npy", np.zeros(2))
    status, _, err = run("trace", "--logits", "small.npy", "--vocabulary", "tokenizer.json")
    assert status == 2
    assert "--vocabulary must be of 2 tokens, as many as the logits, got 3" in err


@pytest.mark.parametrize(
    ("decoder", "tokens", "expected"),
    [
        ({"type": "ByteLevel"}, {"Ġking": 0, "æĹ": 1}, [b" king", b"\xe6\x97"]),
        (
            {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                ],
            },
            [["▁king", -1.0], ["<0xE6>", -2.0]],
            [b" king", b"\xe6"],
        ),
    ],
)
def test_a_tokenizer_file_tells_the_bytes(
    decoder: Any, tokens: Any, expected: list[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "tokenizer.json"
    content = {"model": {"vocab": tokens}, "decoder": decoder, "added_tokens": []}
    file.write_text(json.dumps(content))
    assert list(load_vocabulary(file)) == expected
    file.write_text(json.dumps({**content, "decoder": {"type": "WordPiece"}}))
    with pytest.raises(ll.ParameterError, match=r"^vocabulary must be byte-level BPE or Sentence"):
        load_vocabulary(file)
    for junk in ("[]", "5", '{"model": 5}', "GGUF", '{"model": {"vocab": {"a": "b"}}}'):
        file.write_text(junk)
        with pytest.raises(ll.ParameterError, match=r"^vocabulary must be "):
            load_vocabulary(file)


COMMANDS = ("--help", "trace --help", "params", "demo", "engines --differences", "trace --row 16")


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
@pytest.mark.parametrize("command", COMMANDS)
def test_plain_terminals_show_everything(
    command: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [io.BytesIO(), io.BytesIO()]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding))  # strict, as Python's
    try:
        status: Any = main(command.split())
    except SystemExit as stop:  # of --help
        status = stop.code
    assert not status
    assert streams[1].getvalue() == b""
    assert len(streams[0].getvalue()) > 200


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_plain_terminals_show_everything_in_a_process_of_its_own(encoding: str) -> None:
    result = shell("logitlab trace --row 16", PYTHONUTF8="0", PYTHONIOENCODING=encoding)
    assert result.returncode == 0
    assert result.stderr == b""
    assert len(result.stdout) > 200


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("logitlab generate x --max-tokens 3 >&-", 0),
        ("logitlab generate x --max-tokens 3 --json >&-", 0),
        ("logitlab --help >&-", 0),
        ("logitlab trace --draws 0 >&- 2>&-", 0),
        ("logitlab trace --top-p 2 2>&-", 2),
        ("logitlab generate - <&-", 2),
        ("logitlab chat - <&-", 2),
        ("set -o pipefail; logitlab generate x --max-tokens 3 | head -c 0", 0),
        ("set -o pipefail; logitlab --help | head -c 0", 0),
    ],
)
def test_closed_streams_are_no_traceback(command: str, status: int) -> None:
    result = shell(command)
    assert result.returncode == status
    for text in (result.stdout, result.stderr):
        assert b"Traceback" not in text
        assert b"Exception ignored" not in text
    if "2>&-" in command:
        assert result.stdout == b""  # no message strays into the output


SIGN_OF_LIFE = """
import sys
from logitlab.cli import main
from logitlab.models import NGram

advance = NGram.advance

def first(*words):
    NGram.advance = advance
    print("begun", file=sys.stderr, flush=True)
    return advance(*words)

NGram.advance = first
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_an_interrupted_crowd_of_answers_is_one_line(extra: list[str]) -> None:
    words = ["generate", "Once", "--n", "3000", "--max-tokens", "200", "--seed", "3", *extra]
    with subprocess.Popen(
        [sys.executable, "-c", SIGN_OF_LIFE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    finished = err.count("seed 3)\n")
    assert len(err.splitlines()) <= finished + 1
    assert out.count("--- ") <= finished
    assert err.splitlines()[-1].startswith("Interrupted: ")
