"""From a seed to a token, as the engines do it: reproduced token for token.

Each function draws one token from the final logits of a row. Where an engine adds Gumbel noise, the
noise of a token is a hash of the seed and of where the token stands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from logitlab.checks import ParameterError
from logitlab.draw import choose
from logitlab.numerics import FloatArray, IntArray, gaps, rounded_weights
from logitlab.steps.chain import Chain
from logitlab.steps.truncation import MinP, TopK, TopP
from numpy.typing import NDArray

__all__ = ["Drawn", "Place", "inverse", "llama_cpp", "sglang", "vllm_cpu", "vllm_triton"]

_WORD = 0xFFFFFFFF


class Place(NamedTuple):
    """Where in its sequence a token is drawn.

    Attributes
    ----------
    step : int
        How many tokens of the output come before it.
    position : int
        Index of the token before it, prompt and output together.
    row : int
        Number of the row in its batch.
    """

    step: int
    position: int
    row: int


class Drawn(NamedTuple):
    """What is drawn from: one row as a chain left it.

    Attributes
    ----------
    logits : ndarray, shape (V,)
    order : ndarray of int64
        The survivors as they stand, increasing where nothing sorts them.
    chain : Chain
        The chain that left them.
    """

    logits: FloatArray
    order: IntArray
    chain: Chain


def inverse(row: Drawn, seed: int, place: Place) -> int:
    """Draw as `sample` does: the first token whose cumulative probability exceeds the uniform."""
    sequence, position = np.array([[place.row]]), np.array([[place.step]])
    return int(choose(row.logits[None], seed, sequence, position)[0, 0])


def vllm_cpu(row: Drawn, seed: int, place: Place) -> int:
    """Draw as vLLM's V1 sampler on a CPU: `fused_gumbel_argmax` with the request's generator.

    Step n takes two words of an mt19937; the low 31 bits of the second one are hashed into a key,
    key and token id into 53 bits. The token is ``argmax(logit - ln(-ln u))``.

    References
    ----------
    vLLM, ``torch.ops._C.fused_gumbel_argmax`` of its CPU build.
    """
    word = int(_mt19937(seed, 2 * place.step + 2)[-1])
    key = _splitmix(np.array([word % 2**31], np.uint64))
    ids = np.arange(1, len(row.logits) + 1, dtype=np.uint64)
    bits = _splitmix(key + ids * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)
    u = (bits.astype(np.float64) + 0.5) * 2.0**-53
    return int(np.argmax(row.logits.astype(np.float64) - np.log(-np.log(u))))


def vllm_triton(row: Drawn, seed: int, place: Place) -> int:
    """Draw as vLLM's Model Runner V2: noise from murmur3 of (seed, position, token id).

    References
    ----------
    vLLM, ``vllm/v1/worker/gpu/sample/gumbel.py``.
    """
    hashed = _murmur3(seed, place.position, len(row.logits))
    u = (hashed.astype(np.float64) + 0.5) / 2.0**32
    return int(np.argmax(row.logits.astype(np.float64) - np.log(-np.log1p(-u))))


def sglang(row: Drawn, seed: int, place: Place) -> int:
    """Draw as SGLang with --enable-deterministic-inference: murmur3 of (seed, position, column).

    The column is the token id, or with top-k or top-p the rank in the sorted row.

    References
    ----------
    SGLang, ``sglang/srt/layers/sampler.py``, ``multinomial_with_seed``.
    """
    ratio = next((step.value for step in row.chain if isinstance(step, MinP)), 0)
    if ratio and len(row.order) > 1:
        hint = "Its deterministic sampling stops at an assertion."
        raise ParameterError("min_p", "0 where SGLang draws with a seed", ratio, hint)
    columns = np.arange(len(row.logits))
    if any(isinstance(step, TopK | TopP) for step in row.chain):
        columns = np.argsort(-row.logits, kind="stable")
    log_p = gaps(row.logits[columns][None])[0]
    u = _murmur3(seed, place.position, len(columns)) / (2.0**32 - 1)
    with np.errstate(divide="ignore"):
        log_u = np.clip(np.log(u), np.finfo(np.float64).min, -(2.0**-32))
    return int(columns[np.argmax(log_p - np.log(-log_u))])


def llama_cpp(row: Drawn, seed: int, place: Place) -> int:
    """Draw as llama.cpp: the inverse of the cumulative distribution, in the candidates' order.

    Each token takes two words a and c of an mt19937: ``r = (a + c * 2**32) / 2**64``. The first
    candidate is drawn whose running sum of float32 probabilities, in float64, reaches r times the
    total.

    References
    ----------
    llama.cpp, ``src/llama-sampler.cpp``, the sampler "dist".
    """
    first, second = _mt19937(seed, 2 * place.step + 2)[-2:].tolist()
    r = min((first + second * 2.0**32) / 2.0**64, 1 - 2.0**-53)
    mass = np.cumsum(rounded_weights(row.logits[None, row.order])[0], dtype=np.float64)
    return int(row.order[np.searchsorted(mass, r * mass[-1])])


def _mt19937(seed: int, count: int) -> NDArray[np.uint32]:
    """Return the first words of an mt19937 that is seeded by one word."""
    return np.frombuffer(np.random.RandomState(seed & _WORD).bytes(4 * count), "<u4")


def _splitmix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each word."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _murmur3(seed: int, position: int, columns: int) -> NDArray[np.uint32]:
    """Return murmur3, 32 bits, of (low seed, high seed, position, column) for all columns."""
    hashed: Any = np.zeros(1, np.uint32)
    with np.errstate(over="ignore"):
        for word in (seed & _WORD, seed >> 32 & _WORD, position & _WORD):
            hashed = _mixed(hashed, np.array([word], np.uint32))
        hashed = _mixed(hashed, np.arange(columns, dtype=np.uint32)) ^ np.uint32(16)
        hashed = (hashed ^ (hashed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        hashed = (hashed ^ (hashed >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    result: NDArray[np.uint32] = hashed ^ (hashed >> np.uint32(16))
    return result


def _mixed(hashed: Any, words: NDArray[np.uint32]) -> Any:
    words = _rotated(words * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
    return _rotated(hashed ^ words, 13) * np.uint32(5) + np.uint32(0xE6546B64)


def _rotated(words: Any, bits: int) -> Any:
    return (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))
