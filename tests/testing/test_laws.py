"""Laws for other people's samplers: by hand, and through the option of the pytest plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import logitlab_pytest
import numpy as np
import pytest
from logitlab import testing

from testing import samplers as s

Array = s.Array


def nuclei(rows: Array) -> Array:
    return np.array([s.top_p(row, 0.75) for row in rows])


def draws(rows: Array, seed: Array) -> Array:
    luck = [np.random.default_rng(each).random() for each in seed]
    return np.array([s.inverse_cdf(s.softmax(x), u) for x, u in zip(rows, luck, strict=True)])


NARROW = [kind for kind in testing.KINDS if kind != "wide"]


@pytest.mark.parametrize("law", [law for law in testing.LAWS if law != "right-on-wide"])
@pytest.mark.parametrize(("sampler", "like"), [(nuclei, {"top_p": 0.75}), (draws, {})])
def test_right_samplers_hold_to_them(law: str, sampler: Any, like: Any) -> None:
    testing.LAWS[law](sampler, like, batch=True, rows=NARROW, calls=400)


def typical(rows: Array) -> Array:
    """Keep what is near the entropy, which has no bound of rounding here."""
    probs = s.softmax(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(probs)
        entropy = np.nansum(probs * surprise, axis=-1, keepdims=True)
    near = np.abs(surprise - entropy)
    return np.where(near <= near.min(axis=-1, keepdims=True) + 0.5, rows, -np.inf)


def test_some_hold_where_rounding_has_no_bound() -> None:
    for law in list(testing.LAWS)[:4]:
        testing.LAWS[law](typical, {"typical_p": 0.9}, batch=True, rows=NARROW)


LUCK = np.random.default_rng(1)
BROKEN: dict[str, tuple[Any, str]] = {
    "one-token-stays": (lambda rows: np.where(rows > 1, rows, -np.inf), "keeps no token"),
    "removed-stays-removed": (lambda rows: np.maximum(rows, -1e4),
                              "keeps token 1, whose logit is -inf"),
    "the-same-again": (lambda rows: rows + LUCK.random(),
                       "gives another answer when asked again"),
    "a-batch-is-its-rows": (lambda rows: np.where(rows >= rows[-1:], rows, -np.inf),
                            "answers row 1 of a batch of 6 otherwise than alone"),
    "right-on-equal": (lambda rows: np.where(rows > rows.min(), rows, -np.inf), "keeps no token"),
}  # fmt: skip


@pytest.mark.parametrize("law", BROKEN)
def test_each_is_broken_by_what_it_is_about(law: str) -> None:
    sampler, told = BROKEN[law]
    with pytest.raises(testing.SamplerError) as error:
        testing.LAWS[law](sampler, {}, batch=True, rows=NARROW, gives="logits")
    assert error.value.sentence == told


MODULE = """
import numpy as np

def right(rows):
    weight = np.exp((rows - rows.max(axis=-1, keepdims=True)) / np.float32(0.8))
    return weight / weight.sum(axis=-1, keepdims=True)

def wrong(rows):
    weight = np.exp((rows - rows.max(axis=-1, keepdims=True)) * np.float32(0.8))
    return weight / weight.sum(axis=-1, keepdims=True)
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(MODULE)
    variables = {**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "logitlab_pytest", "-q", "-W", "error"]
    return subprocess.run(
        [*command, *options], cwd=folder, env=variables, capture_output=True, text=True
    )


def test_the_option_of_the_plugin(tmp_path: Path) -> None:
    like = "--logitlab-like", '{"temperature": 0.8}', "--logitlab-batch"
    chosen = "-k", "mine and not wide"
    done = run(tmp_path, "--logitlab-sampler", "mine:right", *like, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(testing.LAWS) - 1} passed, 1 deselected" in done.stdout
    done = run(tmp_path, "--logitlab-sampler", "mine:wrong", *like, "-k", "right-on-signs")
    assert done.returncode == 1
    assert re.search(
        r"^gives token 0 the probability 0\.\d+, where it is 0\.\d+", done.stdout, re.M
    )
    assert "print(ll.trace(row, {'temperature': 0.8}))" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mine", "--logitlab-sampler must be MODULE:FUNCTION, got 'mine'"),
        ("json:other", "--logitlab-sampler json:other: module 'json' has no attribute 'other'"),
        (
            "nothing:at_all",
            "--logitlab-sampler nothing:at_all: importing it raises ModuleNotFoundError: No module "
            "named 'nothing'",
        ),
        ("explodes:f", "--logitlab-sampler explodes:f: importing it raises ValueError: boom"),
        (
            "half:f",
            "--logitlab-sampler half:f: importing it raises SyntaxError: '(' was never closed "
            "(half.py, line 1)",
        ),
        ("leaves:f", "--logitlab-sampler leaves:f: importing it raises SystemExit: 3"),
    ],
)
def test_a_name_that_is_none_is_said(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "explodes.py").write_text("raise ValueError('boom')")
    (tmp_path / "half.py").write_text("def f(")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    with pytest.raises(pytest.UsageError) as error:
        logitlab_pytest._load(name, str(tmp_path))
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"like": "{"}, "--logitlab-like must be JSON: Expecting property name enclosed in doubl"),
        (
            {"like": '{"nope": 2}'},
            "--logitlab-like must be free of keys that nobody knows, got 'no",
        ),
        ({"like": '{"top_p": 2}'}, "--logitlab-like: top_p must be in [0, 1], got 2.0."),
        ({"like": "5"}, "--logitlab-like must be SamplingParams, a map, a chain or None, got 5."),
        ({"like": "[]"}, "--logitlab-like must be at least one request, got []."),
        ({"calls": "3"}, "--logitlab-calls must be an integer >= 10, got 3."),
        ({"calls": "0"}, "--logitlab-calls must be an integer >= 10, got 0."),
        ({"calls": "-5"}, "--logitlab-calls must be an integer >= 10, got -5."),
        ({"calls": "1.5"}, "--logitlab-calls must be an integer >= 10, got 1.5."),
        ({"calls": "many"}, "--logitlab-calls must be an integer >= 10, got 'many'."),
        ({"error": "0"}, "--logitlab-error must be in ["),
        ({"error": "-1"}, "--logitlab-error must be in ["),
        ({"error": "nan"}, "--logitlab-error must be in ["),
        ({"error": "x"}, "--logitlab-error must be a number in ["),
        ({"seed": "-1"}, "--logitlab-seed must be an integer >= 0, got -1."),
        ({"seed": "1e3"}, "--logitlab-seed must be an integer >= 0, got 1000.0."),
        ({"engine": ""}, "--logitlab-engine must be one of 'openrouter', "),
        ({"sampler": [], "seed": "0", "like": None}, "--logitlab-seed needs --logitlab-sampler"),
        ({"sampler": [], "like": "{}"}, "--logitlab-like needs --logitlab-sampler"),
        ({"gives": "x"}, "--logitlab-gives must be one of 'logits', "),
        ({"engine": "x"}, "--logitlab-engine must be one of 'openrouter', "),
        (
            {"sampler": ["json:decoder"]},
            "--logitlab-sampler json:decoder: sampler must be a function of logits, got <module",
        ),
        ({"sampler": [], "like": "[{}]"}, "--logitlab-like needs --logitlab-sampler"),
        ({"sampler": [], "batch": True}, "--logitlab-batch needs --logitlab-sampler"),
    ],
)
def test_wrong_options_are_said_once_before_anything_is_collected(
    given: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    options = {"sampler": ["math:sqrt"], "like": "{}", "batch": False, **given}
    config: Any = SimpleNamespace(
        getoption=lambda name: options.get(name.removeprefix("--logitlab-")),
        invocation_params=SimpleNamespace(dir=tmp_path),
        stash=pytest.Stash(),
    )
    with pytest.raises(pytest.UsageError) as error:
        logitlab_pytest.pytest_configure(config)
    assert str(error.value).startswith(told)


def test_laws_are_collected_where_there_is_no_test_at_all(tmp_path: Path) -> None:
    done = run(tmp_path, "--logitlab-sampler", "mine:right", "--logitlab-batch", "--collect-only")
    assert done.returncode == 0
    assert "logitlab::mine:right[right-on-ties]" in done.stdout
    assert f"{len(testing.LAWS)} tests collected" in done.stdout
