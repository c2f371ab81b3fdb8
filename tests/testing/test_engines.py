"""Engines' own functions pass as themselves: those that are installed, the others are skipped.

The extra ``engines-live`` installs mlx-lm; CI has torch and transformers beside it. Each runs in a
process of its own: the engines' libraries do not get along with one another.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("engine", ["transformers", "mlx_lm", "vllm"])
def test_it_passes_as_itself(engine: str) -> None:
    needs = {"transformers": ("torch", "transformers"), "mlx_lm": ("mlx_lm",)}
    for name in needs.get(engine, (engine,)):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    paths = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(HERE / "inside_engines.py"), engine],
        capture_output=True,
        text=True,
        env=os.environ | {"MLX_DISABLE_COMPILE": "1", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-2:] == [engine, "held"]
