"""From a seed to a token, as the engines do it: reproduced token for token.

Each function draws one token from the final logits of a row. Where an engine adds Gumbel noise, the
noise of a token is a hash of the seed and of where the token stands.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_logits, given_back
from logitlab.checks import ParameterError, Range, check_integer
from logitlab.draw import choose, mt19937
from logitlab.engines.rules import ABSENT, Ignore, Target
from logitlab.numerics import rounded_weights, shifted, widened
from logitlab.steps.adaptive import NearProbability
from logitlab.steps.candidate_order.candidates import probabilities_of
from logitlab.steps.candidate_order.ordered import OrderedChain
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.mirostat import MaxSurprise, ZipfTopK
from logitlab.steps.state import State
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.xtc import ExcludeTopChoices, Xtc
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Final",
    "Place",
    "draw_rows",
    "inverse",
    "koboldcpp",
    "koboldcpp_coin",
    "llama_cpp",
    "llama_cpp_coin",
    "ollama",
    "sglang",
    "vllm_cpu",
    "vllm_triton",
]

_WORD32 = 0xFFFFFFFF
_PCG_MULTIPLIER = 2549297995355413924 << 64 | 4865540595714422341
_PCG_INCREMENT = 6364136223846793005 << 64 | 1442695040888963407
SEEDS = Range(-(2**63), 2**64 - 1, integer=True)
_STEPS = Range(0, 10**7, integer=True)
_DRAWING = (MaxSurprise, ZipfTopK, NearProbability)
"""Steps of samplers that draw in llama.cpp."""


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


class Final(NamedTuple):
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


def draw_rows(
    engine: Any,
    logits: ArrayLike,
    request: Any,
    context: Context | None,
    seed: int | None,
    step: int | None,
    state: State | None = None,
    vocabulary: Any = None,
) -> IntArray:
    """Do `Engine.draw` for an engine that has luck."""
    array = widened(check_logits(logits))
    made = engine(request, vocabulary_size=array.shape[-1], vocabulary=vocabulary)
    chain = made.at(state)
    if chain.coins and engine.coin is None:
        hint = "Its own coins are not repeated here: sample uses logitlab's."
        raise ParameterError("request", "free of XTC where this engine draws", chain, hint)
    seed = _seed_of(engine, engine.read(request).get("seed") if seed is None else seed)
    places = _places_of(context, array.shape)
    if step is not None:
        step = check_integer("step", step, _STEPS)
        places = [place._replace(step=step) for place in places]
    # A coin falls by the place of a row in its text, so that rows may differ.
    tosses = [[engine.coin(seed, place, c.value) for c in chain.coins] for place in places]
    ends: dict[tuple[bool, ...], Any] = {}
    luck: Any = engine.luck
    tokens = []
    for place, falls in zip(places, tosses, strict=True):
        if tuple(falls) not in ends:
            ends[tuple(falls)] = _ends(chain.branch(falls), array, context)
        fallen, rows, orders = ends[tuple(falls)]
        tokens.append(luck(Final(rows[place.row], orders[place.row], fallen), seed, place))
    return given_back(np.array(tokens, np.int64).reshape(array.shape[:-1])[()], logits)


def _ends(
    chain: Chain, array: FloatArray, context: Context | None
) -> tuple[Chain, FloatArray, list[IntArray]]:
    """Return a chain without coins, what it makes of all rows, and the order of their survivors."""
    if isinstance(chain, OrderedChain):
        final, orders = chain.ordered(array, context)
    else:
        final = chain(array, context)
        orders = [np.flatnonzero(row > -np.inf) for row in final.reshape(-1, final.shape[-1])]
    return chain, final.reshape(-1, final.shape[-1]), orders


def _seed_of(engine: Any, seed: int | None) -> int:
    """Return the seed that an engine draws with."""
    # The size of an integer is the engine's affair.
    is_plain = seed is None or type(seed) is int
    used = seed if is_plain else check_integer("seed", seed, SEEDS)
    target = Target(engine.name, None, False, frozenset(), {})
    for rule in engine.rules.get("seed", ()):
        if used is not None and not isinstance(rule, Ignore):  # some draw by what servers ignore
            used, _ = rule.apply("seed", used, target)
            used = None if used is ABSENT else used
    if used is None:
        used = engine.default_seed
    if used is None:
        hint = f"{engine.name} takes a fresh one then, which cannot be repeated."
        raise ParameterError("seed", "an integer that is a seed", seed, hint)
    return check_integer("seed", used, SEEDS)


def _places_of(context: Context | None, shape: tuple[int, ...]) -> list[Place]:
    """Return where each row of a batch is drawn."""
    batch = shape[:-1]
    if context is None:
        return [Place(0, 0, row) for row in range(math.prod(batch))]
    prompt, output = (
        np.count_nonzero(context.tokens(name, batch, shape[-1]) >= 0, axis=-1).ravel().tolist()
        for name in ("prompt", "output")
    )
    lengths = enumerate(zip(prompt, output, strict=True))
    return [Place(n, m + n - 1, row) for row, (m, n) in lengths]


def inverse(row: Final, seed: int, place: Place) -> int:
    """Draw as `sample` does: the first token whose cumulative probability exceeds the uniform."""
    sequence, position = np.array([[place.row]]), np.array([[place.step]])
    return int(choose(row.logits[None], seed, sequence, position)[0, 0])


def vllm_cpu(row: Final, seed: int, place: Place) -> int:
    """Draw as vLLM's V1 sampler on a CPU: `fused_gumbel_argmax` with the request's generator.

    Step n takes two words of an mt19937; the low 31 bits of the second one are hashed into a key,
    key and token id into 53 bits. The token is ``argmax(logit - ln(-ln u))``.

    References
    ----------
    vLLM, ``torch.ops._C.fused_gumbel_argmax`` of its CPU build.
    """
    word = int(mt19937(seed, 2 * place.step + 2)[-1])
    key = _splitmix(np.array([word % 2**31], np.uint64))
    ids = np.arange(1, len(row.logits) + 1, dtype=np.uint64)
    bits = _splitmix(key + ids * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)
    u = (bits.astype(np.float64) + 0.5) * 2.0**-53
    return int(np.argmax(row.logits.astype(np.float64) - np.log(-np.log(u))))


def vllm_triton(row: Final, seed: int, place: Place) -> int:
    """Draw as vLLM's Model Runner V2: noise from murmur3 of (seed, position, token id).

    References
    ----------
    vLLM, ``vllm/v1/worker/gpu/sample/gumbel.py``.
    """
    u = (_murmur3(seed, place.position, len(row.logits)).astype(np.float64) + 0.5) / 2.0**32
    return int(np.argmax(row.logits.astype(np.float64) - np.log(-np.log1p(-u))))


def sglang(row: Final, seed: int, place: Place) -> int:
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
        columns = row.order
    log_p = shifted(row.logits[columns][None])[0]
    u = _murmur3(seed, place.position, len(columns)) / (2.0**32 - 1)
    with np.errstate(divide="ignore"):
        log_u = np.clip(np.log(u), np.finfo(np.float64).min, -(2.0**-32))
    return int(columns[np.argmax(log_p - np.log(-log_u))])


def llama_cpp(row: Final, seed: int, place: Place) -> int:
    """Draw as llama.cpp: the inverse of the cumulative distribution, in the candidates' order.

    Each token takes two words a and c of an mt19937: ``r = (a + c * 2**32) / 2**64``. The first
    candidate is drawn whose running sum of float32 probabilities, in float64, reaches r times the
    total. Mirostat and adaptive-p draw by themselves, by ``std::discrete_distribution``: from
    normalised probabilities, and without a word where a single candidate is left.

    References
    ----------
    llama.cpp, ``src/llama-sampler.cpp``, the sampler "dist", and ``llama_sample_dist``.
    """
    first, second = mt19937(seed, 2 * place.step + 2)[-2:].tolist()
    r = min((first + second * 2.0**32) / 2.0**64, 1 - 2.0**-53)
    weight = rounded_weights(row.logits[None, row.order])[0]
    if row.chain.steps and isinstance(row.chain.steps[-1], _DRAWING):
        probs = (weight / np.cumsum(weight, dtype=np.float32)[-1]).astype(np.float64)
        mass = np.cumsum(probs / np.cumsum(probs)[-1])
        mass[-1] = 1
        return int(row.order[np.searchsorted(mass, r)])
    mass = np.cumsum(weight, dtype=np.float64)
    return int(row.order[np.searchsorted(mass, r * mass[-1])])


def llama_cpp_coin(seed: int, place: Place, chance: float) -> bool:
    """Toss as llama.cpp's XTC: one word of a generator of its own, which has the same seed.

    It tosses for each token of which two candidates are left; place n takes word n, so that this
    holds as long as it has been tossed for every one.
    """
    return bool(_uniform32(seed, place.step) <= np.float32(chance))


def koboldcpp(row: Final, seed: int, place: Place) -> int:
    """Draw as KoboldCpp: the first candidate whose running sum reaches a uniform, all in float32.

    Each token takes one word of an mt19937, and one before that where XTC has tossed its coin.

    References
    ----------
    KoboldCpp, ``gpttype_adapter.cpp``, ``sample_token``.
    """
    tossed = any(isinstance(step, Xtc | ExcludeTopChoices) for step in row.chain)
    u = _uniform32(seed, 2 * place.step + 1 if tossed else place.step)
    weight = rounded_weights(row.logits[None, row.order])[0]
    mass = np.cumsum(weight / np.cumsum(weight, dtype=np.float32)[-1], dtype=np.float32)
    return int(row.order[min(int(np.searchsorted(mass, u)), len(mass) - 1)])


def koboldcpp_coin(seed: int, place: Place, chance: float) -> bool:
    """Toss as KoboldCpp's XTC: one word of the generator that draws, in front of the token's."""
    return bool(_uniform32(seed, 2 * place.step) < np.float32(chance))


def _uniform32(seed: int, number: int) -> np.float32:
    """Return a word of an mt19937 as ``std::uniform_real_distribution<float>`` does."""
    u = np.float32(mt19937(seed, number + 1)[-1]) / np.float32(2.0**32)
    return min(u, np.nextafter(np.float32(1), np.float32(0)))


def ollama(row: Final, seed: int, place: Place) -> int:
    """Draw as Ollama's own sampler: the inverse of the distribution, in sorted order.

    Each token takes the 24 highest bits but eight of a word of PCG-DXSM, whose state the seed and
    ``seed ^ 0x9E3779B9`` make. The first token is drawn whose running sum of float32 reaches that
    part of the total.

    References
    ----------
    Ollama 0.24.0, ``sample/samplers.go``; Go, ``math/rand/v2``; M. O'Neill, "PCG: A Family of
    Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation", 2014.
    """
    word = _pcg(seed, seed ^ 0x9E3779B9, place.step + 1)
    r = np.float32(word >> 32 & 0xFFFFFF) / np.float32(1 << 24)
    mass = np.cumsum(probabilities_of(row.logits[row.order]), dtype=np.float32)
    return int(row.order[np.searchsorted(mass, r * mass[-1])])


def _pcg(high: int, low: int, count: int) -> int:
    """Return a word of PCG with 128 bits of state, as Go's ``rand.NewPCG(high, low)`` gives it."""
    state = (high % 2**64) << 64 | low % 2**64
    for _ in range(count):
        state = (state * _PCG_MULTIPLIER + _PCG_INCREMENT) % 2**128
    word, odd = state >> 64, state % 2**64 | 1
    word ^= word >> 32
    word = word * 0xDA942042E4DD58B5 % 2**64
    word ^= word >> 48
    return word * odd % 2**64


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
        for word in (seed & _WORD32, seed >> 32 & _WORD32, position & _WORD32):
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
