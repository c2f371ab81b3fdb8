"""What there is to turn: every parameter as the table declares it, and what an engine lacks."""

from __future__ import annotations

import math
from typing import Any

from logitlab import datasets
from logitlab.checks import ParameterError
from logitlab.draw import COUPLINGS
from logitlab.engines import ENGINES
from logitlab.engines.engine import Engine
from logitlab.models.model import Model
from logitlab.request.params import PAGE, PARAMETERS, USED, Parameter
from logitlab.version import __version__

__all__ = ["about", "engine_report"]

# How far a slider goes where that is not the parameter's whole range: it may have none, or more
# than can be told apart. Numbers beyond can be typed.
_ENDS: dict[str, tuple[float, float]] = {
    "top_k": (0, 100),
    "max_tokens": (1, 200),
    "seed": (0, 100),
    "min_tokens": (0, 50),
    "top_n_sigma": (-1, 5),
    "epsilon_cutoff": (0, 0.1),
    "eta_cutoff": (0, 0.1),
    "dynatemp_range": (0, 2),
    "dynatemp_exponent": (0, 4),
    "smoothing_factor": (0, 3),
    "smoothing_curve": (1, 5),
    "skew": (-3, 3),
    "dry_multiplier": (0, 2),
    "dry_base": (1, 4),
    "dry_penalty_last_n": (-1, 200),
    "mirostat_tau": (0, 10),
}
_WIDTH = 10  # of a slider with an open end that is not named above


def about(model: Model) -> dict[str, Any]:
    """Return what the page shows before anything is asked: parameters, engines, prompts.

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> told = about(NGram.bundled())
    >>> [told["parameters"][0][key] for key in ("key", "low", "high", "step", "default")]
    ['temperature', 0.0, 2.0, 0.02, 1.0]
    """
    rows = datasets.load()
    prompts = zip(rows.prompts, rows.kinds, strict=True)
    return {
        "version": __version__,
        "model": model.name,
        "recording": rows.source,
        "couplings": list(COUPLINGS),
        "parameters": [_control(each) for each in PARAMETERS.values()],
        "engines": [
            {"name": name, "title": engine.title, "variant_of": engine.variant_of}
            for name, engine in ENGINES.items()
        ],
        "prompts": [{"text": text, "kind": kind} for text, kind in prompts],
    }


def _control(known: Parameter) -> dict[str, Any]:
    """Return one parameter: with ends and a step where it is a number."""
    plain = {key: getattr(known, key) for key in ("key", "kind", "rule", "sentence", "role")}
    plain |= {"origin": known.origin, "is_page": known.origin == PAGE, "needs": known.needs}
    default = known.default
    plain["default"] = default if isinstance(default, bool | int | float | str) else None
    if known.range is None:
        return plain
    low, high = _ENDS.get(known.key, (known.range.low, known.range.high))
    start = default or 0
    low = min(start, 0) if low == -math.inf else low
    high = max(low, start) + _WIDTH if high == math.inf else high
    whole = known.range.integer
    low, high = (int(low), int(high)) if whole else (float(low), float(high))
    return plain | {"low": low, "high": high, "step": 1 if whole else _step(high - low)}


def _step(width: float) -> float:
    """Return 1, 2 or 5 times a power of ten, about a hundred of which are a width."""
    power = 10.0 ** math.floor(math.log10(width / 100))
    part = width / 100 / power
    return round(power * max(each for each in (1, 2, 5) if each <= part + 1e-9), 12)


def engine_report(engine: Engine) -> dict[str, Any]:
    """Return what an engine lacks, with its sentence, and what it uses for absent parameters.

    Examples
    --------
    >>> from logitlab import engines
    >>> report = engine_report(engines.vllm)
    >>> report["lacks"]["top_a"]
    'top_a is ignored by vllm: it has no such parameter.'
    >>> engine_report(engines.llama_cpp)["defaults"]["temperature"]
    0.8
    """
    lacks = {key: words for key in USED if (words := _lack(engine, key))}
    used = engine.translate({}).notes
    defaults = {note.key: note.used for note in used if note.effect == "default"}
    return {
        "name": engine.name,
        "title": engine.title,
        "source": engine.source,
        "lacks": lacks,
        "defaults": {k: x for k, x in defaults.items() if isinstance(x, bool | int | float)},
    }


def _lack(engine: Engine, key: str) -> str:
    """Say that an engine does not have a parameter, or nothing."""
    try:
        notes = engine.translate({key: USED[key]}).notes
    except ParameterError as error:
        # That it may not be there; what is wrong with this one value is no lack.
        return str(error) if error.rule.startswith("absent") else ""
    alike = (note.sentence for note in notes if note.key == key and note.effect == "ignored")
    # The sentence of a value is that of any.
    return next(alike, "")
