"""What a request without parameters means: a set of bundles that its answers do not exclude.

Engines have defaults, deployments replace them by those of the model's generation_config.json, and
hosts by their own. Each bundle is a hypothesis of a race over requests that say nothing; neutral is
the one among them that counts most. What is left is a set: the likeliest of it is no finding, since
bundles that differ in the tail alone need hundreds of requests to be told apart.

A value that is in no bundle is as good as none of these, or as the nearest bundle for long. So a
bundle is a claim about itself alone: "not excluded".
"""

from __future__ import annotations

from collections.abc import Mapping

from logitlab.engines import ENGINES, MAIN
from logitlab.verification.finding import Finding
from logitlab.verification.race import Drawn, Race
from logitlab.verification.rules import DEFAULTS, KEYS, NEUTRAL, OFF, Setting
from logitlab.verification.settings import Settings
from logitlab.verification.study import Study
from logitlab.verification.whole import Defaults

__all__ = ["BUNDLES", "defaults", "known_bundles"]

BUNDLES: dict[str, Mapping[str, float]] = {
    "temperature 0.6, top_p 0.9": {"temperature": 0.6, "top_p": 0.9},
    "temperature 0.6, top_p 0.95, top_k 20": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    "temperature 0.7, top_p 0.8, top_k 20": {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
    "temperature 0.6, top_p 0.95": {"temperature": 0.6, "top_p": 0.95},
    "temperature 0.7, top_p 0.95": {"temperature": 0.7, "top_p": 0.95},
    "temperature 0.8, top_p 0.95": {"temperature": 0.8, "top_p": 0.95},
    "temperature 0.2, top_p 0.9": {"temperature": 0.2, "top_p": 0.9},
    "top_p 0.95, top_k 64": {"top_p": 0.95, "top_k": 64},
    "top_p 0.95, top_k 40": {"top_p": 0.95, "top_k": 40},
}
"""What generation_config.json of widespread models says."""

_FAR = 50.0  # times what is left: each bundle that goes is worth something
_PRIOR = 4.0  # of neutral against each bundle


def known_bundles() -> dict[str, Setting]:
    """Return all bundles by what is said of them: of engines, of models, and each default alone.

    Examples
    --------
    >>> known_bundles()["temperature 0.8, top_p 0.95, top_k 40, min_p 0.05 (llama_cpp)"]["top_k"]
    (40.0, 40.0)
    """
    found: dict[str, Setting] = {"neutral": {}}
    seen: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for name in MAIN:
        own = {key: float(x) for key, x in ENGINES[name].defaults.items() if key in KEYS}
        if own:
            seen.setdefault(tuple(sorted(own.items())), []).append(name)
    for values, names in seen.items():
        bundle = dict(values)
        found[f"{_words(bundle)} ({', '.join(names)})"] = {k: (x, x) for k, x in bundle.items()}
    for words, values_ in BUNDLES.items():
        found[words] = {key: (x, x) for key, x in values_.items()}
    for key in KEYS:
        for low, high in DEFAULTS[key]:
            span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            found[f"{key} {span}"] = {key: (low, high)}
    return found


def defaults(study: Study, budget: int = 40) -> None:
    """Ask requests that say nothing. Adds the finding "defaults", and sets `Study.defaults`.

    Parameters
    ----------
    study : Study
        With `Study.observed`.
    budget : int
        The most requests.
    """
    if not study.observed:
        return
    bundles = known_bundles()
    race = Race({name: name for name in bundles}, study.alpha, {"neutral": _PRIOR})
    expected = Settings([[bundle] for bundle in bundles.values()])
    cells = {prompt: expected.cell(seen) for prompt, seen in study.observed.items()}
    first = study.requests, study.tokens
    refused: list[str] = []

    def draw(prompt: str) -> Drawn | None:
        answer = study.ask(prompt, plain=True)
        if answer.refused:
            refused.append(answer.words or "")
            return None
        seen = study.observed[prompt]
        position = next(iter(answer.positions()), None)
        own = seen.own(position) if _is_own(study) else None
        cell = expected.cell(seen, own) if own is not None else None
        return Drawn(seen.drawn(position, own), cell)

    more: dict[str, float] = {}
    try:
        more = race.run(cells, draw, budget, _FAR)
    finally:
        _report(study, race, bundles, more, first, refused)


def _is_own(study: Study) -> bool:
    """Whether an answer's own report is of the row that it was drawn from, before samplers."""
    noisy = any(seen.sigma for seen in study.observed.values())
    return noisy and study.meaning == "raw"


def _report(
    study: Study,
    race: Race,
    bundles: Mapping[str, Setting],
    more: Mapping[str, float],
    first: tuple[int, int],
    refused: list[str],
) -> None:
    posterior = race.posterior
    alive = sorted(race.alive, key=lambda name: -posterior[name])
    neutral = "possible" if "neutral" in alive else "refuted"
    ranges = {}
    for key in KEYS:
        spans = [bundles[name].get(key, (NEUTRAL[key], NEUTRAL[key])) for name in alive]
        if spans:
            ranges[key] = min(low for low, _ in spans), max(high for _, high in spans)
    requests = study.requests - first[0]
    study.defaults = Defaults(tuple(alive), neutral, ranges, requests, study.alpha)
    asked = race.requests > 0
    verdict = "none_of_these" if not alive else "cannot_tell"
    if refused and not asked:
        verdict = "refused"
    told = {"possible": "may be neutral", "refuted": "not neutral"}[neutral]
    heat = ranges.get("temperature", (1.0, 1.0))
    where = f"temperature {heat[0]:g}" + (f" to {heat[1]:g}" if heat[1] != heat[0] else "")
    study.findings["defaults"] = Finding(
        verdict,  # type: ignore[arg-type]
        "proven",
        error=study.alpha,
        alive={name: race.most[name] for name in alive},
        not_excluded={name: more.get(name, float("inf")) for name in alive} if asked else {},
        requests=requests,
        tokens=study.tokens - first[1],
        detail=f"{told}; {len(alive)} of {len(bundles)} known bundles are possible, {where}",
        says=refused[0] if verdict == "refused" else None,
        history=tuple(race.history),
    )


def _words(bundle: Mapping[str, float]) -> str:
    return ", ".join(
        f"{key} {bundle[key]:g}" for key in KEYS if key in bundle and bundle[key] < OFF
    )
