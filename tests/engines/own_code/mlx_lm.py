"""mlx-lm: its logits processors and sampler, for a request that its own server has read.

The request goes through ``APIHandler.do_POST`` of ``mlx_lm/server.py``, with the defaults of the
command line (greedy). The server's ``_make_logits_processors`` and ``_make_sampler`` are then
called as ``generate_step`` of ``mlx_lm/generate.py`` calls them, on prompt and output, and what
reaches ``categorical_sampling`` of ``mlx_lm/sample_utils.py`` is recorded. Own request keys:
``repetition_context_size``, ``presence_context_size``, ``frequency_context_size``, and
``xtc_special_tokens``, which the server takes from its tokenizer: the newline, and the ends;
``min_tokens_to_keep`` of ``make_sampler``, which the server leaves alone. The coin of XTC falls as
a request says.

* ``0.32.2``: without the server's limits, so values that only ``sample_utils.py`` judges.
* ``server``: with them.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Array, Case

os.environ.setdefault("MLX_DISABLE_COMPILE", "1")

VERSIONS = {name: importlib.metadata.version(name) for name in ("mlx", "mlx-lm")}
VARIANTS = ("0.32.2", "server")
COMMAND_LINE = {
    "temp": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "max_tokens": 512, "num_draft_tokens": 3,
    "allowed_origins": ["*"],
}  # fmt: skip


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of what reaches the draw; all mass on one token if that is greedy."""
    from mlx_lm import server

    try:
        args = _read(case.params, limits={"0.32.2": False, "server": True}[variant])
        # mlx checks no ids: one outside the row would be written elsewhere in memory.
        assert all(0 <= token < len(case.logits) for token in args.logits.logit_bias or ())
        logprobs = _logprobs(case, server._make_logits_processors(args))
        ends = case.params.get("xtc_special_tokens", [])
        tokenizer = SimpleNamespace(encode=lambda text: ends[:1], eos_token_ids=ends[1:])
        with _sampling(case):
            return _probs(logprobs, server._make_sampler(args, tokenizer))
    except ValueError as error:
        return f"ValueError: {error}"


@contextmanager
def _sampling(case: Case) -> Iterator[None]:
    """Let the coin fall as a case says, and ``min_tokens_to_keep`` reach what the server omits."""
    import mlx.core as mx
    from mlx_lm import server

    make, toss = server.make_sampler, mx.random.uniform
    least = case.params.get("min_tokens_to_keep", 1)
    server.make_sampler = partial(make, min_tokens_to_keep=least)
    if 0 < case.params.get("xtc_probability", 0) < 1:
        mx.random.uniform = lambda *_: mx.array(0.0 if case.acts else 1.0)
    try:
        yield
    finally:
        server.make_sampler, mx.random.uniform = make, toss


def _read(params: dict[str, Any], limits: bool) -> Any:
    """Return the arguments that the server makes of a request, or raise its error."""
    from mlx_lm import server

    body = json.dumps({"prompt": "", **params}).encode()
    taken: list[Any] = []

    def generate(request: Any, args: Any, **_: Any) -> None:
        taken.append(args)
        raise RuntimeError("only the arguments were wanted")

    handler = server.APIHandler.__new__(server.APIHandler)
    cli_args = SimpleNamespace(**COMMAND_LINE)
    handler.response_generator = SimpleNamespace(cli_args=cli_args, generate=generate)
    handler.path, handler.headers = "/v1/completions", {"Content-Length": str(len(body))}
    handler.rfile, handler.wfile = io.BytesIO(body), io.BytesIO()
    handler.requestline, handler.request_version = "POST", "HTTP/0.9"
    handler.log_request = lambda *_: None
    if not limits:
        handler._validate = lambda *_, **__: None
    handler.do_POST()
    if not taken:
        raise ValueError(json.loads(handler.wfile.getvalue())["error"])
    return taken[0]


def _logprobs(case: Case, processors: list[Any]) -> Any:
    """The lines of ``_step`` in ``generate_step`` between the model and the sampler."""
    import mlx.core as mx

    logits = mx.array(case.logits[None])
    tokens = mx.array(np.array(case.prompt + case.output, np.int32))
    for processor in processors:
        logits = processor(tokens, logits)
    return logits - mx.logsumexp(logits, keepdims=True)


def _probs(logprobs: Any, sampler: Any) -> Array | str:
    """Run the sampler with its draw replaced by a recorder; "NaN row" if nothing can be drawn."""
    import mlx.core as mx
    from mlx_lm import sample_utils

    recorded: list[Any] = []

    def record(logits: Any, temp: float) -> Any:
        recorded.append(logits * (1.0 / temp))
        return mx.argmax(logits, axis=-1)

    draw, sample_utils.categorical_sampling = sample_utils.categorical_sampling, record
    try:
        token = sampler(logprobs)
    finally:
        sample_utils.categorical_sampling = draw
    if not recorded:
        greedy: Array = np.zeros(logprobs.shape[-1])
        greedy[int(token.item())] = 1
        return greedy
    final = np.array(recorded[0])[0].astype(np.float64)
    if final.max() == np.inf:  # a negative temperature turns what is removed into the best
        return "NaN row"
    weights = np.exp(final - final.max())
    return np.asarray(weights / weights.sum())
