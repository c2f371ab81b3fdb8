"""Races of penalties against simulated providers: how many verdicts are false, and how many none.

Every truth is run with as many seeds as are asked for, in the form of the races alone: what is in
force beside is known. Run it with ``PYTHONPATH=src:tests``:

    python benchmarks/verification_penalties.py 100 vllm llama_cpp
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from logitlab.verification.penalties import penalty
from logitlab.verification.penalty_rules import VALUES

from verification.begun import study_of
from verification.providers import Provider, truth

ENGINES = ("vllm", "llama_cpp", "koboldcpp", "mlx_lm_server", "sglang", "transformers")
_MEANINGS = {"tempered", "penalised", "processed"}


def faults(key: str) -> Iterator[dict[str, Any]]:
    """Yield what is planted: nothing, what ignores it, bounds, and scopes."""
    yield {}
    yield {key: "ignored"}
    for scope in ("output", "prompt and output"):
        yield {key: ("scope", scope)}
    bounds = (
        [(1.0, 1.13), (1.0, 1.4)] if key == "repetition_penalty" else [(-0.7, 0.7), (-1.2, 1.2)]
    )
    for low, high in bounds:
        yield {key: ("clamped", low, high)}


def judged(engine: str, planted: dict[str, Any], key: str, seed: int) -> tuple[str, bool | None]:
    """Return a verdict, and whether it is right; None where it decides nothing.

    A claim that a value is honoured, or is not, has to be right, too.
    """
    provider = Provider(engine, planted, seed=seed)
    kind = provider.logprobs if provider.logprobs in _MEANINGS else "raw"
    study = study_of(provider, meaning=kind)
    if key not in study.neutral:
        return "refused", None
    penalty(study, key)
    found, known = study.findings[key], truth(provider, key)
    is_right = known.is_right(found.verdict)
    for claim in found.claims:
        used = provider.used(key, claim.sent)
        is_kept = used == claim.sent and known.verdict != "ignored"
        if claim.verdict in ("honoured", "not_honoured") and not known.loosely:
            is_right = (claim.verdict == "honoured") == is_kept and is_right is not False
        if found.scope and known.scope:
            is_right = found.scope == known.scope and is_right is not False
    return found.verdict, is_right


def main(runs: int, engines: tuple[str, ...]) -> int:
    """Print what was found of each truth, and return how many verdicts were false."""
    false = 0
    for engine in engines:
        for key in VALUES:
            for planted in faults(key):
                start = time.process_time()
                found = [judged(engine, planted, key, seed) for seed in range(runs)]
                wrong = sum(right is False for _, right in found)
                false += wrong
                seconds = (time.process_time() - start) / runs
                words = dict(Counter(verdict for verdict, _ in found))
                print(f"{engine:14s} {key} {planted} {words} false {wrong} ({seconds:.1f} s each)")
    print(f"{false} false verdicts or claims")
    return false


if __name__ == "__main__":
    main(int(sys.argv[1]), tuple(sys.argv[2:]) or ENGINES)
