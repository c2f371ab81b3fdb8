"""Paired timing: contenders take turns, so that a machine's moods hit them all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

TURN = 0.03  # seconds


def interleaved(
    contenders: dict[str, Callable[[], Any]],
    *,
    seconds: float,
    least: int = 5,
    most: int = 200,
    turn: float = TURN,
) -> dict[str, list[float]]:
    """Return the times of each contender in seconds, one for each round.

    Each round gives every contender one turn, starting with another one each time; rounds go on
    for about so many seconds. A turn lasts about ``turn`` of them: a quick call is repeated, so
    that everyone runs with warm caches, and its mean is taken.
    """
    names = list(contenders)
    repeats = {name: max(1, round(turn / _once(run))) for name, run in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    gc.disable()
    try:
        for count in range(most):
            if count >= least and time.perf_counter() - start > seconds:
                break
            for i in range(len(names)):
                name = names[(count + i) % len(names)]
                run = contenders[name]
                begin = time.perf_counter()
                for _ in range(repeats[name]):
                    run()
                times[name].append((time.perf_counter() - begin) / repeats[name])
    finally:
        gc.enable()
    return times


def _once(run: Callable[[], Any]) -> float:
    """Return the seconds of one call, the first two left out."""
    for _ in range(3):
        begin = time.perf_counter()
        run()
    return time.perf_counter() - begin


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over the rounds of how many times longer ``slow`` took than ``fast``."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def interval(values: list[float], confidence: float = 0.9) -> tuple[float, float, float]:
    """Return the median, and the ends of an interval that holds the true one so often.

    Its ends are values themselves, by the binomial distribution of how many lie below the median:
    nothing is assumed of how they are distributed.
    """
    from scipy.stats import binom

    ordered = sorted(values)
    place = max(int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5)) - 1, 0)
    return statistics.median(ordered), ordered[place], ordered[-1 - place]


def spread(times: list[float]) -> tuple[float, float, float]:
    """Return the median and the quartiles."""
    if len(times) < 2:
        return times[0], times[0], times[0]
    low, middle, high = statistics.quantiles(times, n=4)
    return middle, low, high
