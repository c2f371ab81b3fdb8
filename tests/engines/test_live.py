"""Engines that are installed, asked fresh random requests: llama.cpp and mlx-lm.

The extra ``engines-live`` installs them; where they are missing these tests are skipped.
"""

from __future__ import annotations

import importlib.util
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


@pytest.mark.parametrize("engine", PACKAGES)
def test_fresh_requests(engine: str) -> None:
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        pytest.skip(f"{PACKAGES[engine]} is not installed: pip install 'logitlab[engines-live]'")
    # In a process of its own: the engines' libraries do not get along with one another.
    script = Path(__file__).with_name("live.py")
    environment = os.environ | {"MLX_DISABLE_COMPILE": "1"}
    done = subprocess.run(
        [sys.executable, str(script), engine], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ" in done.stdout
