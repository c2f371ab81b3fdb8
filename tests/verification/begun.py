"""A study of a simulated provider, as the first requests of an examination leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.study import Study

from verification.providers import Provider

__all__ = ["study_of"]

_NEUTRAL = {
    "temperature": (1.0,),
    "top_p": (1.0,),
    "top_k": (0, -1),
    "min_p": (0.0,),
    "frequency_penalty": (0.0,),
    "presence_penalty": (0.0,),
    "repetition_penalty": (1.0,),
}


def study_of(provider: Provider, prompts: Sequence[str] = (), **settings: Any) -> Study:
    """Return a study that asks a provider, with the neutral values that it takes."""

    def send(bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        return [Answer(*provider(body)) for body in bodies]

    study = Study(send, prompts=tuple(prompts), **settings)
    tops = 11 if provider.dialect.name.startswith("mlx") else 20
    study.logprobs = {"logprobs": True, "top_logprobs": tops}
    for key, values in _NEUTRAL.items():
        for value in values:
            known: dict[str, Any] = {key: value}
            if not study.ask("to be or not to be", plain=True, **known).refused:
                study.neutral[key] = value
                break
    study.requests = study.tokens = 0
    return study
