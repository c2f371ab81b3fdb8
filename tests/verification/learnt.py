"""Studies of simulated providers that have learnt what is neutral, or have decided parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from logitlab.verification.bases import bases
from logitlab.verification.finding import Finding
from logitlab.verification.meaning import meaning
from logitlab.verification.rules import Rule
from logitlab.verification.study import Study
from logitlab.verification.values import values

from verification.begun import study_of
from verification.providers import Provider
from verification.subject import PROMPTS

__all__ = ["decided", "learnt"]

_KEYS = ("temperature", "top_p", "top_k", "min_p")


def learnt(provider: Provider, requests: int = 4) -> Study:
    """Return a study after its neutral requests, and some more, that knows what is reported."""
    study = study_of(provider, PROMPTS[:6])
    bases(study, requests=requests)
    meaning(study)
    return study


def decided(provider: Provider) -> Study:
    """Return a study that knows of parameters what races leave where they are honoured."""
    study = learnt(provider, 60)
    rules, findings = _raced()
    assert study.backgrounds is not None
    for key in _KEYS:
        if key in study.neutral:
            study.backgrounds.rules[key] = list(rules[key])
            study.findings[key] = findings[key]
    return study


@cache
def _raced() -> tuple[dict[str, Sequence[Rule]], dict[str, Finding]]:
    """Return the rules and findings of an examination, which takes some seconds, made once."""
    study = learnt(Provider("vllm", seed=8), 16)
    values(study, *_KEYS)
    assert study.backgrounds is not None
    assert {study.verdict(key) for key in _KEYS} == {"honoured"}
    return dict(study.backgrounds.rules), study.findings
