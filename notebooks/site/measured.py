"""What the pages of parameters show that has to be run: pictures, engines side by side, claims.

Each parameter is sent once, by itself, to every engine, over a bundled row of real logits. Nothing
is told here that was not run while the site was built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
from logitlab.claims import report
from logitlab.engines import ENGINES, Engine
from logitlab.engines.compare import SAME
from logitlab.engines.partings import option_sentences
from logitlab.plot.style import figure_of
from logitlab.request.params import NEUTRAL, USED
from logitlab.steps.step import Step

__all__ = ["Alike", "Claimed", "Seen", "see"]

_ROWS = ll.datasets.load("smollm2")
_STORY, _REPEATING = 3, 13  # "Once upon a time …", and "101010 …" for what counts tokens

# Values that show something, for all but those that the table of parameters has one for.
_SHOWN: dict[str, Any] = {
    "temperature": 1.5,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.1,
    "top_a": 0.2,
    "frequency_penalty": 1.0,
    "presence_penalty": 1.0,
    "repetition_penalty": 1.3,
    "logit_bias": {0: -3.0},
    "epsilon_cutoff": 0.02,
    "eta_cutoff": 0.02,
    "tfs": 0.9,
    "xtc_threshold": 0.03,
    "smoothing_factor": 0.3,
    "dry_multiplier": 0.8,
    "dry_base": 2.0,
    "dry_allowed_length": 4,
    "dry_penalty_last_n": 6,
    "bad_words": ((-1, 0),),
    "min_tokens": 20,
    "sequence_bias": {(0,): -3.0},
    "mirostat_tau": 3.0,
    "adaptive_target": 0.2,
}
# What stands beside one, so that an order shows: temperature changes what most cuts keep.
_BESIDE: dict[str, dict[str, Any]] = {
    "temperature": {"top_p": 0.9},
    "temperature_last": {"temperature": 1.5, "min_p": 0.1},
    "xtc_probability": {"temperature": 1.5, "xtc_threshold": 0.03},
    "min_tokens": {"temperature": 1.5, "eos_token_id": (0,)},
    "exponential_decay_length_penalty": {"temperature": 1.5, "eos_token_id": (0,)},
}
_WARM = {"temperature": 1.5}
_DPI = 120


@dataclass(frozen=True)
class Alike:
    """Engines that make the same distribution of a request."""

    engines: tuple[str, ...]
    chain: tuple[str, ...]
    kept: int
    distance: float
    why: tuple[str, ...]


@dataclass(frozen=True)
class Claimed:
    """A claim in words, with its picture if it has one."""

    statement: str
    measured: str
    verdict: str
    source: str
    url: str
    picture: str
    title: str


@dataclass(frozen=True)
class Seen:
    """All that was run for one parameter."""

    request: Mapping[str, Any] = field(default_factory=dict)
    sent: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    picture: str = ""
    removes: bool = False
    groups: tuple[Alike, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claimed, ...] = ()


def see(key: str, folder: Path) -> Seen:
    """Run all that there is about a parameter, and write its pictures into a folder."""
    claims = _claims(key, folder)
    known = ll.PARAMETERS.get(key)
    if known is None or known.role != "distribution":
        return Seen(claims=claims)
    request, beside, row, context = _scene(key)
    prompt, output = map(_ROWS.vocabulary.decode, (context.prompt, context.output))
    text = f"“{prompt}” and “{output}” of the answer"
    sent = beside | request
    without = {name: value for name, value in sent.items() if name != key}
    neither = {name: value for name, value in without.items() if name != known.needs}
    if not all(_differ(sent, less, row, context) for less in (without, neither)):
        return Seen(claims=claims)  # it needs more than one token to show what it does
    alone = request if _differ(request, {}, row, context) else sent
    answers, refused = _answers(sent, row, context)
    groups = tuple(_alike(names, answers[names[0]]) for names in _grouped(answers))
    options = {name: _options(key, compared.chains[name]) for name, compared in answers.items()}
    removes = _picture(key, alone, row, context, folder)
    return Seen(alone, sent, text, key, removes, groups, options, refused, claims)


def _differ(first: dict[str, Any], second: dict[str, Any], row: Any, context: ll.Context) -> bool:
    """Return whether two requests mean different distributions to `openrouter`."""
    ends = [ll.trace(row, request, context=context).logits[-1] for request in (first, second)]
    return not np.array_equal(*ends)


def _scene(key: str) -> tuple[dict[str, Any], dict[str, Any], Any, ll.Context]:
    """Return the request that shows a parameter, what stands beside it, a row and its context."""
    parent = ll.PARAMETERS[key].needs
    request = {name: _SHOWN.get(name, USED[name]) for name in (parent, key) if name}
    step = next(iter(ll.engines.openrouter(_filled_in(request, {-1: 0}))), None)
    at = _REPEATING if getattr(step, "needs_context", False) else _STORY
    row, ids = _ROWS.logits[at], _ROWS.prompt_ids[at]
    unconditional = _ROWS.logits[0] if key == "guidance_scale" else None
    context = ll.Context(prompt=ids[:-1], output=ids[-1:], unconditional=unconditional)
    tokens = {0: int(row.argmax()), -1: int(ids[-1])}
    beside = _filled_in(_BESIDE.get(key, _WARM), tokens)
    return _filled_in(request, tokens), beside, row, context


def _filled_in(value: Any, ids: Mapping[int, int], inside: bool = False) -> Any:
    """Put real tokens in place of 0, the most likely one, and -1, the last one of the text."""
    if isinstance(value, Mapping):
        tokens = {k: k if isinstance(k, str) else _filled_in(k, ids, inside=True) for k in value}
        return {tokens[k]: _filled_in(v, ids) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_filled_in(each, ids, inside=True) for each in value)
    return ids.get(value, value) if inside and type(value) is int else value


def _answers(
    sent: dict[str, Any], row: Any, context: ll.Context
) -> tuple[dict[str, ll.Comparison], dict[str, str]]:
    """Send a request to every engine, its own defaults switched off, beside `openrouter`."""
    answers, refused = {}, {}
    for name, engine in ENGINES.items():
        pair = list(dict.fromkeys(("openrouter", name)))
        try:
            body = _switched_off(engine, sent) | sent
            compared = ll.compare_engines(row, body, engines=pair, context=context)
        except ll.ParameterError as error:
            refused[name] = str(error)
            continue
        if name in compared.refused:
            refused[name] = compared.refused[name]
        else:
            answers[name] = compared
    return answers, refused


def _grouped(answers: Mapping[str, ll.Comparison]) -> list[list[str]]:
    """Put engines together whose distributions are the same, up to rounding."""
    groups: list[list[str]] = []
    for name, compared in answers.items():
        for group in groups:
            first = answers[group[0]].logits[-1]
            if float(ll.total_variation(first, compared.logits[-1])) <= SAME:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _switched_off(engine: Engine, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the neutral values of what an engine would fill in."""
    filled = {note.key for note in engine.translate({}).notes if note.effect == "default"}
    off = {key: NEUTRAL[key] for key in filled & NEUTRAL.keys() - sent.keys()}
    try:
        engine.translate(off)
    except ll.ParameterError:
        return {}
    return off


def _alike(names: list[str], compared: ll.Comparison) -> Alike:
    """Tell of engines by the first of them."""
    name = names[0]
    stages = compared.partings("openrouter", name) if name != "openrouter" else ()
    return Alike(
        tuple(names),
        tuple(getattr(step, "key", type(step).__name__) for step in _acting(compared.chains[name])),
        int(compared.kept[-1]),
        float(compared.distance("openrouter", name)),
        tuple(f"{at.key}: {at.reason}" for at in stages),
    )


def _options(key: str, chain: Any) -> str:
    """Say what the options of a parameter's step are in a chain."""
    is_sorted = isinstance(chain, ll.SortedChain)
    told = (
        option_sentences(step, is_sorted).values()
        for step in _acting(chain)
        if isinstance(step, Step) and step.key == key
    )
    return "; ".join(dict.fromkeys(sentence for sentences in told for sentence in sentences))


def _acting(chain: Any) -> list[Any]:
    return list(chain.without_neutral())


def _picture(
    key: str, request: dict[str, Any], row: Any, context: ll.Context, folder: Path
) -> bool:
    """Draw what a request does to the row; return whether a token is shown that it removes."""
    stages = ll.trace(row, request, context=context)
    for ground in ("light", "dark"):
        ax = ll.plot.axes(7.5, 3.7, dark=ground == "dark")
        ll.plot.distribution(stages, _ROWS.vocabulary, top=12, ax=ax)
        figure_of(ax).savefig(folder / f"{key}_{ground}.png", dpi=_DPI)
    return any(patch.get_hatch() for patch in ax.patches)


def _claims(key: str, folder: Path) -> tuple[Claimed, ...]:
    families = {False: ll.claims.CLAIMS, True: ll.claims.BEYOND}
    told = []
    for beyond, claims in families.items():
        is_known = any(claim.parameter == key for claim in claims)
        for finding in ll.claims.check(key, beyond=beyond) if is_known else ():
            claim, name = finding.claim, ""
            if finding.holds is False:
                raise SystemExit(f"the claim {claim.name} fails: {finding.sentence}")
            if finding.picture is not None:
                name = f"claim_{claim.name.replace('.', '_')}"
                for ground in ("light", "dark"):
                    ax = report.draw(finding.picture, dark=ground == "dark")
                    figure_of(ax).savefig(folder / f"{name}_{ground}.png", dpi=_DPI)
            title = finding.picture.title if finding.picture else ""
            told.append(
                Claimed(
                    claim.statement,
                    finding.sentence,
                    finding.verdict,
                    claim.section,
                    claim.url,
                    name,
                    title,
                )
            )
    return tuple(told)
