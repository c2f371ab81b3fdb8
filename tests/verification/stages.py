"""Stages of a few lines, in place of the battery: what stands around them is under test."""

from __future__ import annotations

from typing import Any, NamedTuple

from logitlab.verification.finding import Claim, Finding
from logitlab.verification.study import Study


class Fake(NamedTuple):
    """A stage that asks some requests of one token, and finds what their texts say."""

    key: str
    value: Any
    times: int = 5
    needs: str = ""
    home: str = "fake.fake"
    written: int = 5
    argument: str = "fake"

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def requests(self) -> int:
        return self.times

    def __call__(self, study: Study, keys: Any = ()) -> None:
        """Call it honoured where all texts are the same, ignored where they are not."""
        before, texts, history = study.requests, list[str](), list[Any]()
        verdict: Any = "cannot_tell"
        try:
            for n in range(self.times):
                seed = int(study.rng.integers(1000))
                answer = study.ask("Name a city.", **{self.key: self.value}, user=str(seed))
                if answer.refused:
                    study.findings[self.key] = Finding("refused", "observed", says=answer.words)
                    return
                texts.append(answer.text())
                evidence = {"honoured": -float(n), "ignored": 2.0 * (n + 1)}
                history.append((n + 1, evidence))
            verdict = "honoured" if len(set(texts)) == 1 else "ignored"
        finally:
            study.findings.setdefault(
                self.key,
                Finding(
                    verdict,
                    "proven",
                    study.alpha if verdict != "cannot_tell" else 0.0,
                    (Claim(self.value, verdict),),
                    {"honoured": -1.0},
                    requests=study.requests - before,
                    history=tuple(history),
                ),
            )


STAGES = (Fake("temperature", 0.0), Fake("top_k", 1), Fake("top_a", 1.0))
