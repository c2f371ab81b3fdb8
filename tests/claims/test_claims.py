"""Every claim holds in the library, and says no where something is broken."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import combinations, groupby
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Generation, ParameterError, claims
from logitlab.claims import BEYOND, CLAIMS, SECTIONS, Claim, Finding, Lab, Picture
from logitlab.claims.report import draw
from logitlab.plot.style import ink_on
from logitlab.request.params import PARAMETERS, TWENTY

from claims.broken import (
    Alike,
    Altered,
    AtBorders,
    Batched,
    Cuts,
    Divides,
    Drops,
    Everything,
    OfLogprobs,
    OneOver,
    OnlyArrays,
    OnlyPrompt,
    Ordered,
    Processed,
    Reports,
    Restless,
    Unchecked,
    Untied,
    below,
    defaults,
    forces,
    maps,
    renames,
    without,
)
from claims.broken_beyond import BROKEN_BEYOND
from plot.pictures import words

LAB = Lab()


@cache
def finding_of(claim: Claim) -> Finding:
    return claim.run(LAB)


def longer(answer: Generation) -> Generation:
    return dataclasses.replace(answer, tokens=np.append(answer.tokens, 0))


def with_match(answer: Generation) -> Generation:
    return dataclasses.replace(answer, text=answer.text + (answer.finish.stop or ""))


def one_less(answer: Generation) -> Generation:
    assert answer.logprobs is not None
    report = dataclasses.replace(
        answer.logprobs,
        top_tokens=answer.logprobs.top_tokens[:, :-1],
        top_logprobs=answer.logprobs.top_logprobs[:, :-1],
    )
    return dataclasses.replace(answer, logprobs=report)


def after_the_fact(request: dict[str, Any]) -> dict[str, Any]:
    """False calls several functions all the same."""
    return {**request, "parallel_tool_calls": True} if "tools" in request else request


def any_object(form: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_object"}


def swapped(word: str) -> str:
    return {"low": "high", "high": "low"}.get(word, word)


def seeded_by_it(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "seed": 9} if request.get("parallel_tool_calls") is False else request


def off_by(amount: float) -> Callable[[dict[str, float]], dict[str, float]]:
    return lambda bias: {token: value * amount for token, value in bias.items()}


# What is broken, for every claim.
BROKEN: dict[str, list[Lab]] = {
    "general.defaults": [defaults(top_k=40), defaults(temperature=0.8)],
    "general.passed_through": [Drops()],
    "temperature.variety": [maps("temperature", lambda t: 1 / t if t >= 0.5 else 2)],
    "temperature.equation": [maps("temperature", lambda t: t**0.5)],
    "temperature.uncommon": [maps("temperature", lambda t: 1 / t)],
    "temperature.zero": [maps("temperature", lambda t: t or 1.0)],
    "temperature.neutral": [maps("temperature", lambda t: t + 1e-6)],
    "top_p.smallest_set": [Cuts("top_p", below)],
    "top_p.lower": [maps("top_p", lambda p: 1 - p)],
    "top_p.dynamic": [Altered(lambda r: {"top_k": 40} if "top_p" in r else r)],
    "top_p.neutral": [maps("top_p", lambda p: min(p, 0.999))],
    "top_k.exact": [maps("top_k", lambda k: k + 1), maps("top_k", lambda k: max(k - 1, 1))],
    "top_k.one": [maps("top_k", lambda k: k + 1)],
    "top_k.disabled": [maps("top_k", lambda k: k or 50)],
    "top_k.ties": [Untied(), Alike(), maps("top_k", lambda k: k + 1)],
    "min_p.tenth": [Cuts("min_p", lambda p, value: p >= value)],
    "min_p.confidence": [Cuts("min_p", lambda p, value: p >= value)],
    "min_p.neutral": [maps("min_p", lambda p: p or 1e-4)],
    "top_a.formula": [renames("top_a", "min_p")],
    "top_a.direction": [maps("top_a", lambda a: 1 - a)],
    "top_a.dynamic": [renames("top_a", "min_p")],
    "top_a.higher": [maps("top_a", lambda a: 1 - a), without("top_a")],
    "top_a.neutral": [maps("top_a", lambda a: a or 1e-4)],
    "frequency_penalty.proportional": [renames("frequency_penalty", "presence_penalty")],
    "frequency_penalty.reuse": [maps("frequency_penalty", abs)],
    "frequency_penalty.input": [OnlyPrompt(), renames("frequency_penalty", "presence_penalty")],
    "frequency_penalty.neutral": [maps("frequency_penalty", lambda a: a or 0.01)],
    "presence_penalty.once": [renames("presence_penalty", "frequency_penalty")],
    "presence_penalty.reuse": [maps("presence_penalty", lambda a: -a)],
    "presence_penalty.neutral": [maps("presence_penalty", lambda a: a or 0.01)],
    "repetition_penalty.reduces": [without("repetition_penalty")],
    "repetition_penalty.coherence": [maps("repetition_penalty", lambda r: min(r, 1.0))],
    "repetition_penalty.scale": [OfLogprobs()],
    "repetition_penalty.equation": [Divides()],
    "repetition_penalty.below_one": [maps("repetition_penalty", lambda r: max(r, 1.0))],
    "repetition_penalty.neutral": [maps("repetition_penalty", lambda r: r + 0.01)],
    "seed.repeats": [Restless()],
    "seed.guaranteed": [Batched()],
    "seed.samples": [maps("seed", lambda seed: 7), maps("top_k", lambda k: k + 3)],
    "max_tokens.limit": [maps("max_tokens", lambda n: n + 1), Reports(longer)],
    "max_tokens.context": [OneOver()],
    "logit_bias.added": [maps("logit_bias", off_by(0.5)), Ordered()],
    "logit_bias.unit": [maps("logit_bias", off_by(-1)), maps("logit_bias", off_by(0.1))],
    "logit_bias.hundred": [maps("logit_bias", off_by(0.1)), without("logit_bias")],
    "logprobs.each": [Processed(), without("logprobs", "top_logprobs")],
    "logprobs.absent": [Altered(lambda r: {**r, "logprobs": True})],
    "top_logprobs.most_likely": [Reports(one_less), Processed()],
    "top_logprobs.needs": [Unchecked()],
    "response_format.json_object": [without("response_format")],
    "response_format.instruct": [without("response_format")],
    "response_format.json_schema": [maps("response_format", any_object), Everything()],
    "structured_outputs.available": [Unchecked(), without("structured_outputs")],
    "stop.immediate": [Reports(with_match), Reports(longer)],
    "stop.token": [AtBorders()],
    "stop.any": [maps("stop", lambda stop: stop[:2])],
    "tools.shape": [without("tools", "tool_choice")],
    "tool_choice.none": [forces(tool_choice="required")],
    "tool_choice.auto": [forces(tool_choice="required"), forces(tool_choice="none")],
    "tool_choice.required": [forces(tool_choice="auto")],
    "tool_choice.named": [forces(tool_choice="required"), Everything()],
    "tool_choice.type": [OnlyArrays(), Unchecked()],
    "parallel_tool_calls.several": [Altered(after_the_fact), forces(parallel_tool_calls=False)],
    "parallel_tool_calls.needs_tools": [Altered(seeded_by_it)],
    "verbosity.lengths": [maps("verbosity", swapped), without("verbosity")],
    "verbosity.medium": [maps("verbosity", lambda word: "low"), defaults(verbosity="high")],
}
ALL = (*CLAIMS, *BEYOND)
ABOUT = list(dict.fromkeys(claim.parameter for claim in BEYOND))
# An order, and what acts on tokens or ends: there is no curve to draw.
NO_FIGURE = {
    *("temperature_last", "exponential_decay_length_penalty", "allowed_token_ids", "bad_words"),
    *("ignore_eos", "repetition_detection"),
}


@pytest.mark.slow
@pytest.mark.parametrize("claim", ALL, ids=[claim.name for claim in ALL])
def test_claims_hold_and_can_fail(claim: Claim) -> None:
    finding = finding_of(claim)
    assert finding.holds is True, finding.sentence
    assert finding.sentence.rstrip(")”")[-1] == "."
    assert "{" not in finding.sentence
    assert all(math.isfinite(number) for number in finding.measured.values())
    labs = (BROKEN if claim.source is None else BROKEN_BEYOND)[claim.name]
    assert labs
    for lab in labs:
        broken = claim.run(lab)
        assert broken.holds is False, broken.sentence
        assert broken.verdict == "FAILS"


def test_every_claim_has_something_broken() -> None:
    assert sorted(BROKEN) == sorted(claim.name for claim in CLAIMS)
    assert sorted(BROKEN_BEYOND) == sorted(claim.name for claim in BEYOND)


def test_every_parameter_has_claims_in_the_order_of_the_page() -> None:
    assert set(SECTIONS) == {"general", *TWENTY}
    assert [key for key, _ in groupby(CLAIMS, key=lambda claim: claim.parameter)] == list(SECTIONS)
    assert len(CLAIMS) >= 50
    assert all(claim.name.startswith(f"{claim.parameter}.") for claim in ALL)


def test_samplers_beyond_the_page_have_claims_with_sources() -> None:
    assert [key for key, _ in groupby(BEYOND, key=lambda claim: claim.parameter)] == ABOUT
    assert set(ABOUT) - {"min_p"} <= PARAMETERS.keys() - {*TWENTY}
    assert len(BEYOND) >= 30
    for claim in BEYOND:
        assert claim.source is not None
        assert claim.url.startswith("https://")
        assert claim.section == claim.source.title
    url = {claim.url for claim in BEYOND if claim.parameter == "min_p"}
    assert url == {"https://arxiv.org/abs/2407.01082", "https://arxiv.org/abs/2506.13681"}
    names = [finding.claim.name for finding in claims.check("min_p", beyond=True)]
    assert names == [claim.name for claim in BEYOND if claim.parameter == "min_p"]


def test_a_figure_on_a_dark_ground_has_light_words() -> None:
    picture = Picture("Two bars", "which", "size", ["a", "b"], {"it": [1, 2]}, "bars")
    for dark, ground in ((True, "#FFFFFF"), (False, "#000000")):
        ax = draw(picture, dark=dark)
        assert ink_on(ax.figure.get_facecolor()) == ground
        assert all(ink_on(text.get_color()) != ground for text in words(ax))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "family"), [*((key, CLAIMS) for key in TWENTY), *((key, BEYOND) for key in ABOUT)]
)
def test_every_parameter_has_a_legible_figure(key: str, family: tuple[Claim, ...]) -> None:
    pictures = [finding_of(claim).picture for claim in family if claim.parameter == key]
    if family is BEYOND and key in NO_FIGURE:
        assert not any(pictures)
        return
    picture = next(one for one in pictures if one is not None)
    assert all(len(values) == len(picture.x) for values in picture.y.values())
    ax = draw(picture)
    ax.figure.draw_without_rendering()
    assert ax.figure.bbox.size.tolist() == [800, 450]
    page = ax.figure.bbox
    texts = words(ax)
    boxes = [text.get_window_extent() for text in texts]
    assert all(page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 for box in boxes)
    assert all(page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1 for box in boxes)
    upright = [
        box for text, box in zip(texts, boxes, strict=True) if text.get_rotation() in (0, 90)
    ]
    for a, b in combinations(upright, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        tall = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or tall <= min(a.height, b.height) / 4


def test_what_is_vague_or_wrong_says_why() -> None:
    wrong = {claim.name for claim in CLAIMS if claim.wording == "wrong"}
    assert wrong == {
        "top_a.direction",
        "repetition_penalty.scale",
        "stop.token",
        "tool_choice.type",
    }
    wrong = {claim.name for claim in BEYOND if claim.wording == "wrong"}
    assert wrong == {"typical_p.random", "skew.direction"}
    for claim in ALL:
        assert bool(claim.remark) == (claim.wording != "exact"), claim.name
        assert claim.statement.endswith("."), claim.name
    for claim in CLAIMS:
        assert claim.url.startswith("https://openrouter.ai/docs/api/reference/parameters#")


def test_verdicts() -> None:
    vague = next(claim for claim in CLAIMS if claim.name == "top_p.smallest_set")
    assert Finding(vague, True, "").verdict.startswith("vague: they hardly ever")
    assert Finding(vague, None, "").verdict == "not run"
    exact = next(claim for claim in CLAIMS if claim.name == "min_p.tenth")
    assert Finding(exact, True, "").verdict == "holds"
    assert Finding(exact, False, "").verdict == "FAILS"


def test_ties_of_bfloat16_part_the_engines_on_twelve_rows() -> None:
    finding = finding_of(next(claim for claim in CLAIMS if claim.name == "top_k.ties"))
    assert finding.measured == {
        "parted": 12, "rows": 20, "more": 5, "most": 55, "others": 6, "before": 0
    }  # fmt: skip


def test_a_missing_extra_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    for finding in claims.check("tool_choice"):
        assert finding.holds is None
        assert finding.sentence == (
            "llguidance is not installed: pip install 'logitlab[structured]'"
        )
    verdicts = {
        finding.claim.name: finding.holds for finding in claims.check("parallel_tool_calls")
    }
    assert list(verdicts.values()) == [None, True]


def test_unknown_parameters_are_errors() -> None:
    rule = r"^parameter must be one of .*, got 'top_q'\. Did you mean \w+\?$"
    with pytest.raises(ParameterError, match=rule):
        claims.check("top_q")
    rule = r"^parameter must be one of 'typical_p', .*, got 'top_p'"
    with pytest.raises(ParameterError, match=rule):
        claims.check("top_p", beyond=True)


def test_it_is_an_attribute_of_the_library() -> None:
    assert ll.claims is claims


def test_experiments_load_when_they_are_asked_for() -> None:
    code = (
        "import sys, logitlab.claims as claims\n"
        "late = ('.claims.structure', '.generation', '.wire', '.constraints')\n"
        "assert not [name for name in sys.modules if name.endswith(late)]\n"
        "assert len(claims.CLAIMS) >= 50 and 'logitlab.claims.structure' in sys.modules\n"
        "assert 'logitlab.claims.beyond.cuts' not in sys.modules and len(claims.BEYOND) >= 30\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'CLAIM'"):
        claims.CLAIM  # noqa: B018
