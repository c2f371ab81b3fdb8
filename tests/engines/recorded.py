"""Recorded answers of the engines, and what logitlab says to the same requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from logitlab import Context, ParameterError, TopP, Xtc, engines, softmax
from logitlab.engines.registry import EngineLike

from engines.beyond import FOLDER, read_cases
from engines.cases import VECTORS, unpacked
from engines.own_code import Array, Case
from engines.record import BEYOND, cases_for

TOLERANCE = 1e-6
TINY = 1e-36  # below, float32 rounds to 0 sooner or later


@dataclass(frozen=True)
class Answer:
    """What an engine's own code answered to a request: survivors and probabilities, or an error."""

    number: int
    case: Case
    survivors: Array
    probs: Array
    error: str


@cache
def answers(engine: str, beyond: bool = False) -> tuple[Answer, ...]:
    """Return the recorded answers of an engine, to the page's requests or those beyond."""
    folder = FOLDER if beyond else VECTORS
    stored = np.load(folder / f"{engine}.npz")
    errors = about(engine, beyond)["errors"]
    cases = [*enumerate(read_cases(BEYOND[engine][2]))] if beyond else cases_for(engine)
    ends = stored["survivors_ends"][:-1]
    parts = zip(unpacked(stored, "survivors"), np.split(stored["probs"], ends), strict=True)
    return tuple(
        Answer(number, case, np.cumsum(gaps, dtype=np.int64), probs, errors.get(str(number), ""))
        for (number, case), (gaps, probs) in zip(cases, parts, strict=True)
    )


@cache
def about(engine: str, beyond: bool = False) -> dict[str, Any]:
    """Return versions, errors and draws of an engine."""
    folder = FOLDER if beyond else VECTORS
    result: dict[str, Any] = json.loads((folder / f"{engine}.json").read_text())
    return result


def evaluated(engine: EngineLike, case: Case) -> Array | str:
    """Return logitlab's final probabilities, or its error."""
    recipe = engines.get(engine)
    try:
        arrived = engines.translate(in_ids(case.params), recipe, vocabulary_size=len(case.logits))
        chain = recipe.chain_of(arrived)
        chain = chain.branch([case.acts] * len(chain.coins))
        return softmax(chain(case.logits, Context(case.prompt, case.output)))
    except ParameterError as error:
        return str(error)


def in_ids(params: dict[str, Any]) -> dict[str, Any]:
    """Return a request with the breakers of DRY as ids: each character is a token."""
    breakers = params.get("dry_sequence_breakers")
    if isinstance(breakers, str):  # text-generation-webui takes them as JSON in a text
        breakers = json.loads(breakers)
    if not breakers:
        return params
    return params | {"dry_sequence_breakers": [[ord(c) - 0x4E00 for c in b] for b in breakers]}


def tolerance(case: Case) -> float:
    """Return how far float32 may be off: a temperature below 0.1 magnifies what it rounds."""
    return TOLERANCE * max(1.0, 0.1 / (case.params.get("temperature") or 1.0))


def distance(answer: Answer, ours: Array) -> float:
    """Return the total variation distance, with the recorded float32 probabilities normalised."""
    theirs = np.zeros(len(ours))
    theirs[answer.survivors] = answer.probs.astype(np.float64)
    return float(np.abs(theirs / theirs.sum() - ours).sum() / 2)


def same_survivors(answer: Answer, ours: Array) -> bool:
    """Whether the same tokens survive; one of a probability that float32 rounds away does not."""
    return bool(np.array_equal(np.flatnonzero(ours > TINY), answer.survivors[answer.probs > TINY]))


BEYOND_ONE = "sums of float32 exceed 1, so that top_p 1 removes the least likely tokens"
ROUNDING = "the cut lies within what sums of float32 over a whole vocabulary round"
SUBNORMAL = "a probability below the normal numbers of float32, which mlx takes for 0"
REMOVED = "below 0, typical_p keeps the first candidate of a sort by NaN, even a removed one"
KERNEL = "a limit of the Triton kernels: ties or a tail stay, or the least likely token goes"


def excluded(engine: str, answer: Answer, ours: Array) -> str:
    """Return why other survivors than recorded are no mistake, or "" if they are.

    Each reason is a weaker claim that is checked here.
    """
    theirs = np.zeros(len(ours))
    theirs[answer.survivors] = answer.probs.astype(np.float64)
    theirs /= theirs.sum()
    if engine in ("sglang", "sglang_lag") and answer.case.params.get("top_p", 1) == 1:
        lost = ours[(ours > TINY) & (theirs <= TINY)]
        if lost.sum() < TOLERANCE and lost.max() <= ours[theirs > TINY].min():
            return BEYOND_ONE
    both = (theirs > TINY) & (ours > TINY)
    nested = both.sum() == min((theirs > TINY).sum(), (ours > TINY).sum())
    differ = (theirs > TINY) != (ours > TINY)
    few = differ.sum() <= 2
    if engine.startswith("mlx_lm"):  # all that are as likely as the last one stay or go with it
        few = np.unique((theirs if (theirs[differ] > TINY).any() else ours)[differ]).size <= 2
    if len(ours) > 10_000 and nested and few and _cuts_closely(engine, answer.case):
        return ROUNDING
    if engine.startswith("mlx_lm") and answer.case.params.get("xtc_probability"):
        # With a threshold of 0 the least likely token is the one that XTC spares.
        chain = engines.get(engine)(answer.case.params)
        at = next((i for i, step in enumerate(chain) if isinstance(step, Xtc)), 0)
        context = Context(answer.case.prompt, answer.case.output)
        before = softmax(chain[:at](answer.case.logits, context))
        if before[before > 0].min() < np.finfo(np.float32).tiny:
            return SUBNORMAL
    asked = answer.case.params
    one = (theirs > TINY).sum() == 1
    if (
        engine == "llama_cpp"
        and asked.get("top_n_sigma", -1) > 0 > asked.get("typical_p", 1)
        and one
    ):
        return REMOVED
    if engine == "vllm_triton":
        lost = (ours > TINY) & ~both
        smallest = ours == ours[ours > 0].min()
        if not lost.any() or (nested and not (lost & ~smallest).any()):
            return KERNEL
    return ""


def _cuts_closely(engine: str, case: Case) -> bool:
    """Whether the mass of some number of most likely tokens comes within 3e-4 of top_p."""
    chain = engines.get(engine)(case.params)
    at = next((i for i, step in enumerate(chain) if isinstance(step, TopP)), None)
    if at is None:
        return False
    before = softmax(chain[:at](case.logits, Context(case.prompt, case.output)))
    mass = np.cumsum(np.sort(before)[::-1])
    return bool(np.abs(mass - chain.steps[at].value).min() < 3e-4)  # type: ignore[attr-defined]
