"""Planted truths: races of one parameter in a server whose behaviour is known."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from logitlab.verification.backgrounds import Backgrounds
from logitlab.verification.finding import Finding
from logitlab.verification.observed import Observed
from logitlab.verification.rules import Rule
from logitlab.verification.study import Study
from logitlab.verification.values import ParameterRace

from verification.simulated import PROMPTS, Simulated, study

DRAWN = 24  # neutral answers before each race


class Truth(NamedTuple):
    """A parameter, what the server does with it, and the rules and verdicts that are right."""

    key: str
    fault: Any
    rule: str
    verdicts: tuple[str, ...]


TRUTHS = (
    Truth("temperature", None, "honoured", ("honoured",)),
    Truth("temperature", "ignored", "ignored (1)", ("ignored", "not_honoured")),
    Truth("temperature", (0, 1.2), "clamped to at most 1 to 1.25", ("clamped", "not_honoured")),
    Truth("top_p", None, "honoured", ("honoured",)),
    Truth("top_p", "ignored", "ignored (1)", ("ignored", "not_honoured")),
    Truth("top_k", None, "honoured", ("honoured",)),
    Truth("top_k", "ignored", "ignored (off)", ("ignored", "not_honoured")),
    Truth("min_p", None, "honoured", ("honoured",)),
    Truth("min_p", "ignored", "ignored (0)", ("ignored", "not_honoured")),
)


def learnt() -> dict[str, Observed]:
    """Return what a server without noise reports of each prompt."""
    server, found = Simulated(), {}
    examined = study(server)
    for prompt in PROMPTS:
        position = examined.ask(prompt).positions()[0]
        found[prompt] = Observed.of(prompt, [position.top])
    return {prompt: seen for prompt, seen in found.items() if not seen.is_too_flat}


def begun(
    server: Simulated, alpha: float, observed: dict[str, Observed], drawn: int, key: str
) -> Study:
    """Return a study that knows the prompts, after some neutral answers.

    Before another parameter is raced, an examination knows what a race of the temperature leaves.
    """
    begun = study(server, alpha=alpha, cap=10**6)
    begun.observed, begun.backgrounds = observed, Backgrounds(alpha)
    if key != "temperature":
        begun.backgrounds.rules["temperature"] = honoured()
    flat = sorted(observed, key=lambda prompt: -observed[prompt].entropy)[:8]
    for number in range(drawn):
        prompt = flat[number % len(flat)]
        begun.backgrounds.drawn.append((prompt, begun.ask(prompt).positions()[0]))
    return begun


@cache
def honoured() -> list[Rule]:
    """Return what a race of the temperature leaves of a server that honours it."""
    examined = begun(Simulated(), 1e-3, learnt(), DRAWN, "temperature")
    ParameterRace(examined, "temperature").run(80, 100)
    assert examined.backgrounds is not None
    return list(examined.backgrounds.rules["temperature"])


def templates(observed: dict[str, Observed]) -> dict[str, ParameterRace]:
    """Return a race of each parameter before any answer."""
    keys = dict.fromkeys(truth.key for truth in TRUTHS)
    return {key: ParameterRace(begun(Simulated(), 0.05, observed, 0, key), key) for key in keys}


def race(truth: Truth, like: ParameterRace, alpha: float, foreign: float, seed: int) -> Finding:
    """Return what one race finds."""
    faults = {} if truth.fault is None else {truth.key: truth.fault}
    server = Simulated(faults, foreign=foreign, seed=seed)
    examined = begun(server, alpha, like.study.observed, DRAWN, truth.key)
    one = ParameterRace(examined, truth.key, like=like)
    one.run(80, 100 if truth.key == "temperature" else 30)
    one.conclude()
    return examined.findings[truth.key]


def used(truth: Truth, sent: float) -> float:
    """Return the value that the server of a truth uses."""
    faults = {} if truth.fault is None else {truth.key: truth.fault}
    return Simulated(faults).used({truth.key: sent})[truth.key]


def false_claims(truth: Truth, finding: Finding) -> int:
    """Return how many claims are false."""
    said = {"honoured": True, "not_honoured": False}
    return sum(
        said[claim.verdict] != (used(truth, claim.sent) == claim.sent)
        or (claim.used is not None and claim.used != used(truth, claim.sent))
        for claim in finding.claims
        if claim.verdict in said
    )
