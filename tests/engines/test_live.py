"""Engines that are installed, asked random requests that were not recorded: llama.cpp and mlx-lm.

The extra ``engines-live`` installs them; where they are missing these tests are skipped. The
requests are those of one seed, for a gate must not close by chance; ``LOGITLAB_LIVE_SEED`` is
another seed, or ``fresh``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "llama_cpp": "xllamacpp",
    "llama_cpp_python": "xllamacpp",
    "mlx_lm": "mlx_lm",
    "mlx_lm_server": "mlx_lm",
}


SEED = os.environ.get("LOGITLAB_LIVE_SEED", "20261127")


def wants(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'logitlab[engines-live]'")


@pytest.mark.parametrize("engine", PACKAGES)
def test_requests_that_were_not_recorded(engine: str) -> None:
    wants(PACKAGES[engine])
    # In a process of its own: the engines' libraries do not get along with one another.
    script = Path(__file__).with_name("live.py")
    environment = os.environ | {"MLX_DISABLE_COMPILE": "1"}
    asked = [engine] if SEED == "fresh" else [engine, SEED]
    done = subprocess.run(
        [sys.executable, str(script), *asked], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ" in done.stdout


def test_breakers_are_those_that_were_recorded(tmp_path: Path) -> None:
    wants("xllamacpp")
    script, fresh = Path(__file__).with_name("record_breakers.py"), tmp_path / "breakers.json"
    done = subprocess.run([sys.executable, str(script), str(fresh)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    now, then = (
        json.loads(path.read_text("utf-8"))
        for path in (fresh, script.parent / "vectors" / "breakers.json")
    )
    assert now["tokens"] == then["tokens"]
    assert len(now["cases"]) == len(then["cases"]) == 145
    for (*asked, left), (*before, recorded) in zip(now["cases"], then["cases"], strict=True):
        assert asked == before
        assert left == pytest.approx(recorded, rel=1e-6)
