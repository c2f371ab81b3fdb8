"""What the log-probabilities are of: the model's row, or what samplers have made of it.

Temperature 1/2 doubles the differences of what is reported after it, or another where a bound
leaves that one what it was: .05 below a greatest, and 2 above a least. Cuts leave fewer tokens in
reports that come after them; penalties move what was said in reports after them. Differences are
compared, since a constant is lost, and with a tolerance for the noise. Lists are taken as they are:
unsorted, with -9999 for minus infinity, and shorter than asked for.

    temperature   cuts     penalties
    not seen      unseen   unseen      raw
    not seen      unseen   seen        penalised
    seen          unseen               tempered
    seen          seen                 processed
    not seen      seen                 filtered: or processed, if temperature is ignored

All of it is reported by the server, and proves nothing of what is drawn. Where a parameter is
ignored it is not seen in reports, whatever they are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from logitlab.verification.answer import Answer, Token
from logitlab.verification.bases import MOST_TOKENS
from logitlab.verification.finding import Finding
from logitlab.verification.observed import Observed
from logitlab.verification.penalties_read import are_moved, pairs, tolerance
from logitlab.verification.penalty_prompts import PROMPTS, frame_of, said_of
from logitlab.verification.penalty_rules import VALUES
from logitlab.verification.study import Study

__all__ = ["meaning", "slope"]

_TEMPERATURES = (0.5, 0.05, 2.0)
_CUTS = {"top_k": 3, "top_p": 0.05, "min_p": 0.5}
_LEFT = 3  # tokens that these leave, at most
_COMPARED = 8
_LENGTH = 32
_MILD = {"frequency_penalty": 1.0, "presence_penalty": 1.0, "repetition_penalty": 1.5}
_SURE = 0.15
_LEAST = 0.01


def meaning(study: Study) -> None:
    """Find what is reported. Sets `Study.meaning`, and adds to the finding "logprobs".

    It wants `Study.observed`, and takes 2 requests, 2 more where no temperature is seen, and up to
    8 more where no cut is either.
    """
    if not study.logprobs or not study.observed:
        return
    seen = _subject(study)
    first = study.requests, study.tokens
    words: list[str] = []
    cut = _shortest(study)
    try:
        shown = _are_cuts_shown(study, seen)
        temperature, ratio = _tempering(study, seen)
        if ratio is None or shown is None:
            words.append("its reports could not be compared")
        elif temperature is not None:
            words.append(f"temperature {temperature:g} shows as {1 / max(ratio, _LEAST):.2g}")
            if (ratio > 1) == (temperature < 1):
                study.meaning = "processed" if shown else "tempered"
        elif shown:
            study.meaning = "filtered"
        else:
            study.meaning = "penalised" if _are_penalties_shown(study) else "raw"
    finally:
        found = study.findings.get("logprobs", Finding("honoured", "reported"))
        most = study.tops
        count = max(each.reported for each in study.observed.values())
        told = [study.meaning, f"of the {count} likeliest tokens"]
        if cut is not None:
            told.append(
                f"at neutral {cut} tokens are told"
                + (f" of {most} that are asked for" if most else "")
            )
        study.findings["logprobs"] = replace(
            found,
            kind="reported",
            requests=found.requests + study.requests - first[0],
            tokens=found.tokens + study.tokens - first[1],
            detail="; ".join([*told, *words]),
        )


def slope(row: Mapping[Token, float], base: Observed) -> tuple[float, float] | None:
    """Return by what the differences of a report are a multiple of the neutral ones.

    Parameters
    ----------
    row : mapping of token to float
    base : Observed

    Returns
    -------
    float, float
        The factor of least squares over the likeliest tokens, and the largest error in nats; None
        where fewer than three tokens are told.

    Examples
    --------
    >>> base = Observed("", ("a", "b", "c"), np.log([0.5, 0.3, 0.1]))
    >>> factor, error = slope({"a": 0.0, "c": 2 * np.log(0.2), "b": 2 * np.log(0.6)}, base)
    >>> round(factor, 6), error < 1e-9
    (2.0, True)
    """
    kept = [n for n, token in enumerate(base.tokens[:_COMPARED]) if token in row]
    if len(kept) < 3:
        return None
    x = base.logprobs[kept] - base.logprobs[kept].mean()
    y = np.array([row[base.tokens[n]] for n in kept])
    y = y - y.mean()
    if x @ x == 0:
        return None
    factor = float(x @ y / (x @ x))
    return factor, float(np.abs(y - factor * x).max())


def _subject(study: Study) -> Observed:
    """Return a distribution of which much is told, and which differs much."""
    half = sorted(study.observed.values(), key=lambda seen: seen.rest)
    half = half[: max(3, len(half) // 2)]
    # With few tokens there is nothing to compare; with even ones no slope.
    return max(half, key=lambda seen: float(np.ptp(seen.logprobs[:_COMPARED])) * seen.reported)


def _first(answer: Answer) -> Mapping[Token, float]:
    positions = answer.positions()
    return positions[0].top if positions else {}


def _tempering(study: Study, seen: Observed) -> tuple[float | None, float | None]:
    """Return the first temperature that stretches a report, and by what; None, 1 if none does.

    The factor is None where reports cannot be compared.
    """
    for temperature in _TEMPERATURES if "temperature" in study.neutral else ():
        answer = study.ask(seen.prompt, temperature=temperature)
        if answer.refused:
            continue
        found = slope(_first(answer), seen)
        # A report of few tokens is after cuts that leave no more, and tells nothing.
        if found is None or found[1] > tolerance(study) / min(1, temperature):
            return temperature, None
        if abs(found[0] - 1) > _SURE:
            return temperature, found[0]
    return None, 1.0


def _are_cuts_shown(study: Study, seen: Observed) -> bool | None:
    """Whether a report has fewer tokens where they are cut off; None where that cannot be seen."""
    cuts: dict[str, Any] = {key: value for key, value in _CUTS.items() if key in study.neutral}
    if not cuts:
        return False
    if seen.reported <= _LEFT:  # as a cut may have left it
        return None
    answer = study.ask(seen.prompt, **cuts)
    if answer.refused:
        return False
    told = len(_first(answer))
    return told <= _LEFT if told else None


def _are_penalties_shown(study: Study) -> bool:
    """Whether what was said is reported higher where all penalties reward it.

    Two answers have to begin alike: the likeliest tokens do, and equal seeds where temperature is
    ignored. Rewards keep in a short list what penalties would move out of it.
    """
    keys = [key for key in VALUES if key in study.neutral]
    if not keys:
        return False
    frame, slack = frame_of(study), tolerance(study)
    alike: dict[str, Any] = {"temperature": 0.0} if "temperature" in study.neutral else {}
    sent: dict[str, Any] = {key: VALUES[key][-1] for key in keys}
    for number, prompt in enumerate(PROMPTS):
        seeded = alike | {"seed": number + 1}
        without = study.ask(prompt, _LENGTH, **seeded)
        if without.refused:
            seeded = alike
            without = study.ask(prompt, _LENGTH, **seeded)
        answer = study.ask(prompt, _LENGTH, **seeded, **sent)
        if answer.refused:
            sent = {key: _MILD[key] for key in keys}
            answer = study.ask(prompt, _LENGTH, **seeded, **sent)
        if answer.refused:
            return False
        said = said_of(study, prompt, frame, answer)
        if are_moved(pairs(without, answer), said, slack):
            return True
    return False


def _shortest(study: Study) -> int | None:
    """Return to how many tokens neutral reports are cut, if that is all there is in each."""
    asked = study.tops
    counts = {seen.reported for seen in study.observed.values() if seen.rest < 1e-3}
    whole = len(counts) == 1 and len(study.observed) > 1
    count = next(iter(counts), 0)
    all_short = all(seen.reported == count for seen in study.observed.values())
    # Of a list that leaves something out the last is not counted.
    return count if whole and all_short and asked and count < min(asked - 1, MOST_TOKENS) else None
