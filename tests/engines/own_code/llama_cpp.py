"""llama.cpp: a sampler chain of its own C functions, called in the shared library of xllamacpp.

The functions are those of ``src/llama-sampler.cpp``; only their order and arguments are set here:

* ``server``: as ``common/sampling.cpp`` (``common_sampler_init``) builds the chain of a request to
  llama-server: logit bias, then ``samplers`` in the order asked for, then the draw. Own request
  keys: ``repeat_penalty`` (``repetition_penalty`` is taken for it), ``repeat_last_n`` and
  ``samplers``. Limits, clamps and texts are those of ``tools/server/server-schema.cpp``.
* ``python``: as ``Llama._init_sampler`` of llama-cpp-python builds it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import Array, Case

VERSIONS = {"xllamacpp": importlib.metadata.version("xllamacpp")}
VARIANTS = ("server", "python")
SAMPLERS = ("penalties", "top_k", "top_p", "min_p", "temperature")
DEFAULTS = {
    "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0,
    "repeat_last_n": 64, "frequency_penalty": 0.0, "presence_penalty": 0.0, "logit_bias": {},
    "samplers": SAMPLERS,
}  # fmt: skip
INT32_MAX = 2**31 - 1

Step = tuple[str, tuple[Any, ...]]


class _Token(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float))


class _Tokens(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    )


class _Bias(ctypes.Structure):
    _fields_ = (("token", ctypes.c_int32), ("bias", ctypes.c_float))


class _ChainParams(ctypes.Structure):
    _fields_ = (("no_perf", ctypes.c_bool),)


_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "logit_bias": (ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(_Bias)),
    "penalties": (ctypes.c_int32, ctypes.c_int32, ctypes.c_float, ctypes.c_float, ctypes.c_float),
    "top_k": (ctypes.c_int32,),
    "top_p": (ctypes.c_float, ctypes.c_size_t),
    "min_p": (ctypes.c_float, ctypes.c_size_t),
    "temp": (ctypes.c_float,),
    "temp_ext": (ctypes.c_float, ctypes.c_float, ctypes.c_float),
    "greedy": (),
    "dist": (ctypes.c_uint32,),
}


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the logits that are left in front of the draw."""
    try:
        ids, logits = candidates(case, variant)
    except ValueError as error:
        return f"invalid_argument: {error}"
    if not np.isfinite(logits.max()):
        return "NaN row"
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    probs = np.zeros(len(case.logits))
    probs[ids] = weights / weights.sum()
    return probs


def order(case: Case, variant: str) -> list[int]:
    """Return the token ids in the order in which the draw meets the candidates."""
    return [int(token) for token in candidates(case, variant)[0]]


def draw(case: Case, variant: str, seed: int, steps: int) -> list[int] | str:
    """Return the tokens that the chain draws, each accepted before the next."""
    try:
        built = _steps(case, variant)
    except ValueError as error:
        return f"invalid_argument: {error}"
    if built[-1][0] != "greedy":
        built.append(("dist", (seed & 0xFFFFFFFF,)))
    drawn = []
    with _chain(built, case.prompt + case.output) as chain:
        for _ in range(steps):
            tokens, array = _apply(chain, case.logits)
            drawn.append(int(tokens["id"][array.selected]))
            _library().llama_sampler_accept(chain, drawn[-1])
    return drawn


def candidates(case: Case, variant: str) -> tuple[Array, Array]:
    """Return ids and logits of the candidates as the chain leaves them in front of the draw."""
    with _chain(_steps(case, variant), case.prompt + case.output) as chain:
        tokens, array = _apply(chain, case.logits)
    if array.selected >= 0:
        tokens = tokens[array.selected : array.selected + 1]
    return tokens["id"].copy(), tokens["logit"].copy()


def _steps(case: Case, variant: str) -> list[Step]:
    params = {**DEFAULTS, **case.params, "n_vocab": len(case.logits)}
    if "repeat_penalty" not in case.params:
        params["repeat_penalty"] = case.params.get("repetition_penalty", 1.0)
    bias = _bias(params["logit_bias"])
    first: list[Step] = [("logit_bias", (params["n_vocab"], len(bias), bias))] if len(bias) else []
    return first + {"server": _server, "python": _python}[variant](params)


def _bias(given: dict[Any, Any]) -> Any:
    """Return the array of biases; ``False`` bans a token."""
    pairs = [_Bias(int(token), -math.inf if b is False else b) for token, b in given.items()]
    return (_Bias * len(pairs))(*pairs)


def _server(params: dict[str, Any]) -> list[Step]:
    last, repeat = params["repeat_last_n"], params["repeat_penalty"]
    if not 0 <= last <= INT32_MAX:
        rule = f"Value must be between 0 <= value <= {INT32_MAX}, but got {last}"
        raise ValueError(f"Field 'repeat_last_n': {rule}")
    if not (math.isfinite(repeat) and repeat > 0):
        text = "penalty_repeat must be finite and greater than 0"
        raise ValueError(f"Failed to initialize samplers: {text}")
    known: dict[str, Step] = {
        "penalties": ("penalties", _penalties(params)),
        "top_k": ("top_k", (max(params["top_k"], 0),)),
        "top_p": ("top_p", (min(max(params["top_p"], 0.0), 1.0), 0)),
        "min_p": ("min_p", (min(max(params["min_p"], 0.0), 1.0), 0)),
        "temperature": ("temp_ext", (max(params["temperature"], 0.0), 0.0, 1.0)),
    }
    return [known[name] for name in params["samplers"]]


def _python(params: dict[str, Any]) -> list[Step]:
    penalties: Step = ("penalties", _penalties(params))
    temperature = params["temperature"]
    if temperature < 0:
        return [penalties]
    if temperature == 0:
        return [penalties, ("greedy", ())]
    return [
        penalties,
        ("top_k", (params["top_k"],)),
        ("top_p", (params["top_p"], 1)),
        ("min_p", (params["min_p"], 1)),
        ("temp", (temperature,)),
    ]


def _penalties(params: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("n_vocab", "repeat_last_n", "repeat_penalty", "frequency_penalty", "presence_penalty")
    return tuple(params[key] for key in keys)


@contextmanager
def _chain(steps: list[Step], history: list[int]) -> Iterator[Any]:
    """Build a chain that has accepted the history, and free it afterwards."""
    library = _library()
    chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
    for name, arguments in steps:
        sampler = getattr(library, f"llama_sampler_init_{name}")(*arguments)
        library.llama_sampler_chain_add(chain, sampler)
    for token in history:
        library.llama_sampler_accept(chain, token)
    yield chain
    library.llama_sampler_free(chain)


def _apply(chain: Any, logits: Array) -> tuple[Array, _Tokens]:
    """Run a chain on the row in id order, and return the candidates that are left."""
    tokens = np.zeros(len(logits), np.dtype(_Token))
    tokens["id"], tokens["logit"] = np.arange(len(logits)), logits
    array = _Tokens(tokens.ctypes.data, len(logits), -1, False)
    _library().llama_sampler_apply(chain, ctypes.byref(array))
    return tokens[: array.size], array


@cache
def _library() -> Any:
    import xllamacpp

    assert xllamacpp.__file__ is not None
    library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
    library.llama_sampler_chain_default_params.restype = _ChainParams
    library.llama_sampler_chain_init.argtypes = (_ChainParams,)
    library.llama_sampler_chain_init.restype = ctypes.c_void_p
    library.llama_sampler_chain_add.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.llama_sampler_accept.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    library.llama_sampler_apply.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Tokens))
    library.llama_sampler_free.argtypes = (ctypes.c_void_p,)
    for name, arguments in _ARGUMENTS.items():
        make = getattr(library, f"llama_sampler_init_{name}")
        make.argtypes, make.restype = arguments, ctypes.c_void_p
    return library
