"""What logitlab says to hundreds of requests, against what the engines' own code said."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from logitlab import engines
from logitlab.request.params import DISTRIBUTION, TWENTY

from engines import recorded
from engines.cases import COUNTS, VECTORS, read
from engines.record import RECORDED, cases_for

EXCLUDED: dict[str, dict[str, list[int]]] = json.loads((VECTORS / "excluded.json").read_text())


LLAMA_FAMILY = ("llama_cpp", "llama_cpp_python", "koboldcpp", "mlx_lm")


@pytest.mark.parametrize("engine", LLAMA_FAMILY)
def test_with_samplers_beyond_the_page_they_are_the_engines_too(engine: str) -> None:
    outcome, excluded = compared(engine, beyond=True)
    assert not excluded
    assert outcome["equal"] >= 250
    assert sum(outcome.values()) == len(recorded.answers(engine, True)) == 280


@pytest.mark.parametrize("engine", RECORDED)
def test_survivors_and_probabilities_are_the_engines(engine: str) -> None:
    outcome, excluded = compared(engine)
    # What is excluded is listed, request by request, and nothing else is.
    assert excluded == EXCLUDED.get(engine, {})
    assert outcome["equal"] >= 300
    counted = sum(outcome.values()) + sum(map(len, excluded.values()))
    assert counted == len(recorded.answers(engine)) == len(cases_for(engine))


def compared(engine: str, beyond: bool = False) -> tuple[Counter[str], dict[str, list[int]]]:
    """Return how many answers are equal, or refused by both, and why others are no mistake."""
    outcome: Counter[str] = Counter()
    excluded: dict[str, list[int]] = {}
    for answer in recorded.answers(engine, beyond):
        ours = recorded.evaluated(engine, answer.case)
        if answer.error or isinstance(ours, str):
            assert answer.error, (answer.number, answer.case.params, ours)
            assert isinstance(ours, str), (answer.number, answer.case.params, answer.error)
            outcome["refused"] += 1
        elif recorded.same_survivors(answer, ours):
            assert recorded.distance(answer, ours) < recorded.TOLERANCE, answer.number
            outcome["equal"] += 1
        else:
            reason = recorded.excluded(engine, answer, ours)
            assert reason, (answer.number, answer.case.params)
            excluded.setdefault(reason, []).append(answer.number)
    return outcome, excluded


@pytest.mark.parametrize(
    ("engine", "beyond"),
    [(name, False) for name in RECORDED] + [(name, True) for name in LLAMA_FAMILY],
)
def test_what_an_engine_refuses_is_refused_with_its_text(engine: str, beyond: bool) -> None:
    for answer in recorded.answers(engine, beyond):
        if not answer.error or answer.error == "NaN row":
            continue
        ours = recorded.evaluated(engine, answer.case)
        assert isinstance(ours, str)
        theirs = answer.error.partition(": ")[2].partition(" (parameter=")[0]
        answers = engines.get(engine).schema.answers
        others = f"{re.escape(answers)}|refuses the request|drops the connection, and logs"
        message, said = re.split(f" {engine} (?:{others})", ours)
        said = said.removeprefix(": ") if said.startswith(": ") else message
        assert _bare(theirs).startswith(_bare(said))


def _bare(text: str) -> str:
    """Return a text without what differs by type only: 2.0 and 2, quotes, the end of a sentence."""
    return text.replace(".0", "").replace("'", "").rstrip(" .")


def test_the_requests_are_many_and_varied() -> None:
    cases = read()
    assert len(cases) == sum(COUNTS.values()) >= 300
    keys = Counter(key for case in cases for key in case.params)
    assert min(keys[key] for key in DISTRIBUTION if key in TWENTY) >= 40
    assert max(len(case.prompt) + len(case.output) for case in cases) > 180
    assert any(not case.output for case in cases)
    assert any(not case.params for case in cases)


def test_versions_are_told() -> None:
    for engine in RECORDED:
        versions = recorded.about(engine)["versions"]
        assert versions
        for version in versions.values():
            assert version[0].isdigit()
