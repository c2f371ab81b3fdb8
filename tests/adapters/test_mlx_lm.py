"""Needs mlx and mlx-lm: adapters inside its own generation, over a small network made here.

The extra ``engines-live`` installs them; where they are missing these tests are skipped. They run
in a process of their own: the engines' libraries do not get along with one another.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from logitlab import ParameterError, adapters

HERE = Path(__file__).parent


@pytest.mark.parametrize("part", ["rows", "draws", "batch", "refused", "wrong"])
def test_inside_of_mlx_lm(part: str) -> None:
    if importlib.util.find_spec("mlx_lm") is None:
        pytest.skip("mlx_lm is not installed: pip install 'logitlab[engines-live]'")
    environment = os.environ | {"MLX_DISABLE_COMPILE": "1"}
    paths = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(HERE / "inside_mlx_lm.py"), part],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [part, "held"]


def test_only_arrays_of_mlx_are_taken() -> None:
    with pytest.raises(ParameterError) as error:
        adapters.mlx_lm({"top_k": 2})([1], [[0.0, 1.0]])
    assert str(error.value) == "tokens must be an array of mlx, got [1]."
