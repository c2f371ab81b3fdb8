"""llama.cpp: a sampler chain of its own C functions, called in the shared library of xllamacpp.

The functions are those of ``src/llama-sampler.cpp``; only their order and arguments are set here:

* ``server``: as ``common/sampling.cpp`` (``common_sampler_init``) builds the chain of a request to
  llama-server: logit bias, then ``samplers`` in the order asked for, then the draw; mirostat
  leaves out all but bias and temperature. Own request keys: those of the server, by its names, and
  ``repetition_penalty``, which is taken for ``repeat_penalty``. Limits, clamps and texts are those
  of ``tools/server/server-schema.cpp``. ``eos_token_id`` holds the model's end tokens, for
  ``ignore_eos``. Each character of a DRY breaker is a token, see `engines.asked.llama_cpp`.
* ``python``: as ``Llama._init_sampler`` of llama-cpp-python builds it.

XTC has a generator of its own, which is seeded so that its coin falls as a request says.
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

from . import Array, Case, Drawn

VERSIONS = {"xllamacpp": importlib.metadata.version("xllamacpp")}
VARIANTS = ("server", "python")
INT32_MAX = 2**31 - 1
SAMPLERS = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip
DEFAULTS = {
    "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0,
    "repeat_last_n": 64, "frequency_penalty": 0.0, "presence_penalty": 0.0, "logit_bias": {},
    "samplers": SAMPLERS, "typical_p": 1.0, "top_n_sigma": -1.0, "xtc_probability": 0.0,
    "xtc_threshold": 0.1, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "dry_multiplier": 0.0,
    "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": 64, "min_keep": 0,
    "dry_sequence_breakers": [], "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1,
    "adaptive_target": -1.0, "adaptive_decay": 0.9, "ignore_eos": False, "eos_token_id": [],
    "mirostat_mode": 0,
}  # fmt: skip
HARD = {  # in the order in which the server looks
    "repeat_last_n": (0, INT32_MAX), "dry_allowed_length": (0, INT32_MAX),
    "dry_penalty_last_n": (0, INT32_MAX), "adaptive_decay": (0.0, 0.99),
    "min_keep": (0, INT32_MAX),
}  # fmt: skip
SOFT = {
    "top_k": (0, INT32_MAX), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0),
    "xtc_probability": (0.0, 1.0), "xtc_threshold": (0.0, 1.0), "temperature": (0.0, math.inf),
    "mirostat": (0, 2), "adaptive_target": (-math.inf, 1.0),
}  # fmt: skip
MIROSTAT_1, MIROSTAT_2, ADAPTIVE_P = "mirostat", "mirostat_v2", "adaptive_p"
LAST = (MIROSTAT_1, MIROSTAT_2, ADAPTIVE_P)  # these draw
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


class _Vector(ctypes.Structure):
    """A ``std::vector``: where it begins, where it ends, where its memory does."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("begin", "end", "room"))


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
    "typical": (ctypes.c_float, ctypes.c_size_t),
    "top_n_sigma": (ctypes.c_float,),
    "xtc": (ctypes.c_float, ctypes.c_float, ctypes.c_size_t, ctypes.c_uint32),
    "dry": (
        ctypes.c_void_p,
        ctypes.c_float,
        ctypes.c_float,
        ctypes.c_int32,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_size_t,
    ),
    "dry_testing": (
        ctypes.c_float,
        ctypes.c_float,
        ctypes.c_int32,
        ctypes.c_int32,
        ctypes.POINTER(_Vector),
    ),
    MIROSTAT_1: (
        ctypes.c_int32,
        ctypes.c_uint32,
        ctypes.c_float,
        ctypes.c_float,
        ctypes.c_int32,
    ),
    MIROSTAT_2: (ctypes.c_uint32, ctypes.c_float, ctypes.c_float),
    ADAPTIVE_P: (ctypes.c_float, ctypes.c_float, ctypes.c_uint32),
}
# In C++, with breakers of tokens: the other one finds those of texts in a vocabulary.
_DRY_TESTING = "_Z30llama_sampler_init_dry_testingffiiRKSt6vectorIS_IiSaIiEESaIS1_EE"


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the logits that are left in front of the draw."""
    try:
        ids, logits = candidates(case, variant)
    except ValueError as error:
        return f"invalid_argument: {error}"
    if len(ids) == 1:  # it is drawn, even where it has been removed
        logits = np.zeros_like(logits)
    if not np.isfinite(logits.max()):
        return "NaN row"
    return _probs(len(case.logits), ids, logits)


def _probs(size: int, ids: Array, logits: Array) -> Array:
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    probs = np.zeros(size)
    probs[ids] = weights / weights.sum()
    return probs


def order(case: Case, variant: str) -> list[int]:
    """Return the token ids in the order in which the draw meets the candidates."""
    return [int(token) for token in candidates(case, variant)[0]]


def draw(case: Case, variant: str, seed: int, steps: int) -> list[int] | str:
    """Return the tokens that the chain draws, each accepted before the next."""
    try:
        return [each.token for each in follow(case, variant, seed, [case.logits] * steps)]
    except ValueError as error:
        return f"invalid_argument: {error}"


def follow(case: Case, variant: str, seed: int, rows: list[Array]) -> list[Drawn]:
    """Return the tokens that the chain draws from some rows, each accepted before the next."""
    seed &= 0xFFFFFFFF
    built = _steps(case, variant, seed)
    if built[-1][0] not in ("greedy", *LAST):
        built.append(("dist", (seed,)))
    drawn = []
    with _chain(built, case.prompt + case.output) as chain:
        for row in rows:
            tokens, array = _apply(chain, row)
            place = array.selected
            if not tokens["p"].any():  # greedy computes none
                tokens["p"][place] = 1
            alive = int(np.count_nonzero(tokens["logit"] > -np.inf))
            drawn.append(Drawn(int(tokens["id"][place]), alive, float(tokens["p"][place])))
            _library().llama_sampler_accept(chain, drawn[-1].token)
    return drawn


def candidates(case: Case, variant: str) -> tuple[Array, Array]:
    """Return ids and logits of the candidates as the chain leaves them in front of the draw.

    Mirostat and adaptive-p draw; what is left is what they drew from.
    """
    built = _steps(case, variant, _falling(case))
    with _chain(built, case.prompt + case.output) as chain:
        tokens, array = _apply(chain, case.logits)
    if array.selected >= 0 and built[-1][0] not in LAST:
        tokens = tokens[array.selected : array.selected + 1]
    return tokens["id"].copy(), tokens["logit"].copy()


def _falling(case: Case) -> int:
    """Return a seed with which the coin of XTC falls as the request says, or 0."""
    chance = case.params.get("xtc_probability", 0)
    if not 0 < chance < 1:
        return 0
    words = ((seed, np.random.RandomState(seed).bytes(4)) for seed in range(10_000))
    uniforms = ((seed, np.frombuffer(word, "<u4")[0] / 2**32) for seed, word in words)
    return next(seed for seed, u in uniforms if (u <= chance) == case.acts)


def _steps(case: Case, variant: str, seed: int) -> list[Step]:
    own = {"n_vocab": len(case.logits), "seed": seed, "sent": set(case.params)}
    params = {**DEFAULTS, **case.params, **own}
    if "repeat_penalty" not in case.params:
        params["repeat_penalty"] = case.params.get("repetition_penalty", 1.0)
    steps = {"server": _server, "python": _python}[variant](params)
    bias = _bias(params)
    first: list[Step] = [("logit_bias", (params["n_vocab"], len(bias), bias))] if len(bias) else []
    return first + steps


def _bias(params: dict[str, Any]) -> Any:
    """Return the array of biases; ``False`` bans a token, and the end is banned if ignored."""
    given = [*params["logit_bias"].items()]
    if params["ignore_eos"]:
        given += [(token, False) for token in params["eos_token_id"]]
    pairs = [_Bias(int(token), -math.inf if b is False else b) for token, b in given]
    return (_Bias * len(pairs))(*pairs)


def _server(params: dict[str, Any]) -> list[Step]:
    for key, (low, high) in HARD.items():
        value = params[key]
        if not low <= value <= high:
            told = [f"{n:.6f}" if isinstance(low, float) else str(n) for n in (low, high, value)]
            rule = "Value must be between {} <= value <= {}, but got {}".format(*told)
            raise ValueError(f"Field '{key}': {rule}")
    if "dry_sequence_breakers" in params["sent"] and not params["dry_sequence_breakers"]:
        says = "Error: dry_sequence_breakers must be a non-empty array of strings"
        raise ValueError(f"Field 'dry_sequence_breakers': {says}")
    repeat = params["repeat_penalty"]
    if not (math.isfinite(repeat) and repeat > 0):
        text = "penalty_repeat must be finite and greater than 0"
        raise ValueError(f"Failed to initialize samplers: {text}")
    p = params | {key: min(max(params[key], low), high) for key, (low, high) in SOFT.items()}
    if p["mirostat"]:
        tau, eta = p["mirostat_tau"], p["mirostat_eta"]
        last: Step = (MIROSTAT_2, (p["seed"], tau, eta))
        if p["mirostat"] == 1:
            last = (MIROSTAT_1, (p["n_vocab"], p["seed"], tau, eta, 100))
        return [("temp", (p["temperature"],)), last]
    keep = p["min_keep"]
    known: dict[str, Step] = {
        "penalties": ("penalties", _penalties(p)),
        "dry": _dry(p),
        "top_n_sigma": ("top_n_sigma", (p["top_n_sigma"],)),
        "top_k": ("top_k", (p["top_k"],)),
        "typ_p": ("typical", (p["typical_p"], keep)),
        "top_p": ("top_p", (p["top_p"], keep)),
        "min_p": ("min_p", (p["min_p"], keep)),
        "xtc": ("xtc", (p["xtc_probability"], p["xtc_threshold"], keep, p["seed"])),
        "temperature": (
            "temp_ext",
            (p["temperature"], p["dynatemp_range"], p["dynatemp_exponent"]),
        ),
    }
    if not p["dry_multiplier"] or not p["dry_penalty_last_n"]:
        del known["dry"]  # it is empty then, which dry_testing does not bear
    names = [name.lower().replace("-", "_") for name in p["samplers"]]
    chain = [known[name] for name in names if name in known]
    if "adaptive_p" in names:
        chain.append((ADAPTIVE_P, (p["adaptive_target"], p["adaptive_decay"], p["seed"])))
    return chain


def _dry(p: dict[str, Any]) -> Step:
    base = p["dry_base"] if p["dry_base"] >= 1 else DEFAULTS["dry_base"]
    values = p["dry_multiplier"], base, p["dry_allowed_length"], p["dry_penalty_last_n"]
    if not p["dry_sequence_breakers"]:
        return "dry", (None, *values, None, 0)
    return "dry_testing", (*values, _breakers(p["dry_sequence_breakers"]))


def _breakers(texts: list[str]) -> Any:
    """Return a vector of vectors of tokens, one for each character."""
    parts = []
    for text in texts:
        ids = (ctypes.c_int32 * len(text))(*(ord(character) - 0x4E00 for character in text))
        begin = ctypes.addressof(ids)
        part = _Vector(begin, begin + ctypes.sizeof(ids), begin + ctypes.sizeof(ids))
        part.ids = ids  # kept alive as long as the vector is
        parts.append(part)
    array = (_Vector * len(parts))(*parts)
    begin = ctypes.addressof(array)
    whole = _Vector(begin, begin + ctypes.sizeof(array), begin + ctypes.sizeof(array))
    whole.parts, whole.array = parts, array
    return whole


def _python(params: dict[str, Any]) -> list[Step]:
    penalties: Step = ("penalties", _penalties(params))
    temperature = params["temperature"]
    if temperature < 0:
        return [penalties]
    if temperature == 0:
        return [penalties, ("greedy", ())]
    tau, eta = params["mirostat_tau"], params["mirostat_eta"]
    if params["mirostat_mode"] == 1:
        return [penalties, (MIROSTAT_1, (params["n_vocab"], params["seed"], tau, eta, 100))]
    if params["mirostat_mode"] == 2:
        return [penalties, (MIROSTAT_2, (params["seed"], tau, eta))]
    return [
        penalties,
        ("top_k", (params["top_k"],)),
        ("typical", (params["typical_p"], 1)),
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
        sampler = _maker(library, name)(*arguments)
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
    begin = (array.data - tokens.ctypes.data) // tokens.itemsize  # XTC moves it
    return tokens[begin : begin + array.size], array


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
        make = _maker(library, name)
        make.argtypes, make.restype = arguments, ctypes.c_void_p
    return library


def _maker(library: Any, name: str) -> Any:
    return getattr(library, _DRY_TESTING if name == "dry_testing" else f"llama_sampler_init_{name}")
