"""``logitlab sweep``, run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import Context, datasets, simulate, sweep
from logitlab.cli import main

GRID = {"temperature": [0.0, 0.5, 1.0], "top_p": [0.5, 0.9]}
OPTIONS = ("--temperature", "0:1:0.5", "--top-p", "0.5,0.9", "--quiet")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(2).normal(size=(30, 12)).astype(np.float32))
    return path


def run(*words: object) -> int:
    return main(["sweep", *map(str, words)])


def out(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert run(*words) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_it_prints_the_table_of_the_library(file: Path, capsys: Any) -> None:
    expected = sweep(file, GRID, ["entropy", "support"]).to_csv()
    assert out(capsys, file, *OPTIONS, "--metrics", "entropy,support") == expected


def test_bundled_rows_in_bfloat16(file: Path, capsys: Any) -> None:
    options = ("--top-k", "50", "--engine", "vllm", "--metrics", "support", "--quiet")
    rows = datasets.load(dtype="bfloat16").logits
    expected = sweep(rows, {"top_k": [50]}, ["support"], engine="vllm").to_csv()
    assert out(capsys, "--dtype", "bfloat16", *options) == expected
    assert out(capsys, *options) != expected
    assert run(file, "--dtype", "bfloat16", *options) == 2
    assert capsys.readouterr().err == (
        "logitlab: error: --dtype must be absent where ROWS is given, got 'bfloat16'. "
        "A file has its own dtype.\n"
    )


def test_files_figure_and_workers(file: Path, tmp_path: Path, capsys: Any) -> None:
    table, figure, checkpoint = (tmp_path / name for name in ("out.csv", "out.png", "held"))
    text = out(
        capsys,
        file,
        *OPTIONS,
        "--metrics",
        "entropy,support",
        "--out",
        table,
        "--plot",
        figure,
        "--workers",
        "2",
        "--checkpoint",
        checkpoint,
    )
    assert table.read_text() == sweep(file, GRID, ["entropy", "support"]).to_csv()
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert text.splitlines() == [
        "<Sweep of 30 rows: entropy, support over 3 temperature x 2 top_p>",
        "6 points share one order of each row",
        f"table: {table}",
        f"figure: {figure}",
    ]
    assert checkpoint.exists()


def test_the_bundled_rows_have_their_prompts(capsys: Any) -> None:
    rows = datasets.load("smollm2")
    context = Context(prompt=[ids.tolist() for ids in rows.prompt_ids])
    grid: dict[str, Any] = {"engine": ["openrouter", "vllm"], "presence_penalty": [0, 1]}
    expected = sweep(rows.logits, grid, "entropy", context=context).to_csv()
    words = "--engine openrouter,vllm --presence-penalty 0:1:1 --metrics entropy --quiet"
    assert run(*words.split()) == 0
    assert capsys.readouterr().out == expected  # that vLLM counts none of them is told


def test_draws(file: Path, capsys: Any) -> None:
    expected = simulate(file, {"temperature": [1.0]}, draws=10, seed=4).to_csv()
    assert out(capsys, file, "--temperature", "1.0", "--draws", "10", "--seed", "4") == expected


def test_coins_and_states_are_axes(file: Path, capsys: Any) -> None:
    expected = sweep(file, {"xtc_probability": [0.0, 0.25, 0.5, 0.75, 1.0]}).to_csv()
    assert out(capsys, file, "--xtc-probability", "0:1:0.25") == expected
    grid: dict[str, Any] = {"mirostat": [2], "mirostat_tau": [1, 2, 3]}
    for engine in ("openrouter", "llama_cpp"):
        expected = sweep(file, grid, "support", engine=engine).to_csv()
        words = f"--mirostat 2 --mirostat-tau 1:3:1 --metrics support --engine {engine}"
        assert out(capsys, file, *words.split()) == expected


def test_options_of_all_kinds(file: Path, capsys: Any) -> None:
    context = Context(prompt=[3, 4])
    grid: dict[str, Any] = {"frequency_penalty": [-0.5, 0.5], "top_k": [2, 4]}
    request: dict[str, Any] = {"logit_bias": {2: 1.5}, "repeat_last_n": 5}
    expected = sweep(
        file,
        grid,
        engine="llama_cpp",
        request=request,
        context=context,
        zipped=True,
        reduce="quantiles",
    ).to_csv()
    words = "--frequency-penalty -0.5,0.5 --top-k 2:4:2 --zip --engine llama_cpp --logit-bias 2=1.5"
    words += " --set repeat_last_n=5 --prompt-ids 3,4 --reduce quantiles"
    table = out(capsys, file, *words.split())
    assert table == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--temperature must be given, or another parameter of the grid, got None."),
        (["--temperature", "0:1"], "--temperature must be numbers, or ranges like 0:2:0.1"),
        (
            ["--temperature", "0:1:0"],
            "--temperature must be ranges from low to high in steps above",
        ),
        (["--temperature", "a:1:2"], "--temperature must be a finite number, got 'a'"),
        (["--temperature", "hot"], "temperature must be a number in [0, 2], got 'hot'"),
        (["--top-p", "0.5,1.5"], "top_p must be in [0, 1], got 1.5"),
        (["--top-k", "2.5"], "top_k must be an integer >= 0, got 2.5"),
        (["--top-k", "1", "--metrics", "speed"], "metrics must be functions, or among 'entropy'"),
        (["--top-k", "1", "--seed", "1"], "--seed must be given together with --draws, got '1'"),
        (["--top-k", "1", "--draws", "1"], "--draws must be an integer >= 2, got 1"),
        (["--top-k", "1", "--draws", "5", "--reduce", "rows"], "--reduce must be mean where"),
        (["--top-k", "1", "--workers", "0"], "--workers must be an integer in [1, 1024], got 0"),
        (["--top-k", "1", "--chunk", "x"], "--chunk must be an integer >= 1, got 'x'"),
        (["--top-k", "1", "--engine", "ours"], "engine must be one of 'openrouter'"),
        (["--frequency-penalty", "1"], "--prompt-ids must be given with a penalty, got None"),
        (["--top-k", "1", "--prompt-ids", "x"], "--prompt-ids must be an integer >= 0, got"),
    ],
)
def test_mistakes(words: list[str], message: str, file: Path, capsys: Any) -> None:
    assert run(file, *words) == 2
    assert message in capsys.readouterr().err


def test_rows_that_are_none(capsys: Any) -> None:
    assert run("nowhere.npy", "--top-k", "1") == 2
    assert "rows must be an existing file of logits" in capsys.readouterr().err
    assert run("--top-k", "1", "--prompt-ids", "3") == 2
    assert "--prompt-ids must be given together with ROWS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nowhere/x.csv"], "--out must be a file in an existing folder"),
        (["--plot", "nowhere/x.png"], "--plot must be a file in an existing folder"),
        (["--plot", "x.xyz"], "--plot must be a file that ends in one of"),
        (
            ["--plot", "x.png", "--top-p", "1", "--min-p", "0"],
            "--plot must be absent for more than two axes",
        ),
    ],
)
def test_outputs_are_looked_at_before_anything_is_computed(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("logitlab.cli.sweep.sweep", None)
    assert main(["sweep", "--temperature", "1", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_interrupt_tells_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("logitlab.cli.sweep.sweep", interrupt)
    assert main(["sweep", "--temperature", "1", "--checkpoint", "c"]) == 130
    message = capsys.readouterr().err
    assert message == "logitlab: interrupted.\nThe same command goes on from c.\n"
