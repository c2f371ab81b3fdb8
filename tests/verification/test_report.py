"""Reports: a table, Markdown and JSON that say the same, and tell proofs from what was seen."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from logitlab import ParameterError, Verification
from logitlab.verification.finding import Claim, Finding
from logitlab.verification.identity import Identity
from logitlab.verification.names import only_names, required_names
from logitlab.verification.outcome import Spending
from logitlab.verification.report import markdown, terminal

CLAIMS = (
    Claim(0.0, "honoured", log_e=9.0),
    Claim(0.4, "honoured", log_e=8.0),
    Claim(1.5, "not_honoured", used=1.0, log_e=7.5),
    Claim(2.0, "cannot_tell"),
)
FINDINGS = {
    "temperature": Finding(
        "honoured",
        "proven",
        0.002,
        CLAIMS,
        alive={"honoured": -3.0, "clamped to [0, 1.5]": -math.inf},
        not_excluded={"clamped to [0, 1.5]": 690.4, "floor of 0.01": math.inf},
        requests=25,
        tokens=25,
    ),
    "top_a": Finding("ignored", "proven", 0.001, requests=3),
    "min_p": Finding("cannot_tell", "proven", 0.001, not_excluded={"a": 10, "b": 20}, requests=9),
    "presence_penalty": Finding("honoured", "reported", scope="prompt and output", requests=4),
    "n": Finding(
        "refused", "observed", says="Field 'n': |\x1b[31m<b>", requests=1, refused_values={"2": "x"}
    ),
}
RESULT = Verification(
    FINDINGS,
    url="http://127.0.0.1:8080/v1",
    model="m",
    identities={Identity("m", "X", "f1"): (40, 1), Identity("m", "X", "f2"): (2, 41)},
    others={"order": Finding("honoured", "proven", 0.001, detail="temperature last")},
    spending=Spending(42, 10, 3, 1400, 90, 12.0),
    notes=("The answers name 2 deployments.",),
    stopped="the cap of 42 requests is reached",
    log="log.jsonl",
)


def test_the_table_says_what_was_found_and_how_it_is_known() -> None:
    assert str(RESULT) == TABLE
    assert str(Verification({})).splitlines()[0] == "a function"


TABLE = """\
http://127.0.0.1:8080/v1, model m
42 requests (cap 800), 1,400 tokens read and 90 written, 3 requests sent again; 10 answers from a
log
4 races, each wrong with a chance of 0.002 at most, all together 0.005; noise of logits 0.000
The answers name 2 deployments.

parameter         verdict      known by       detail                                        requests
temperature       honoured     proven, 0.002  at 0, 0.4; cannot tell at 2; not at 1.5,            25
                                              which became 1; not excluded: clamped to [0,
                                              1.5] (~691 requests more); nor by any
                                              request here: floor of 0.01
top_a             ignored      proven, 0.001                                                       3
min_p             cannot tell  –              not excluded: a (~10 requests more), b (~20          9
                                              requests more)
presence_penalty  honoured     reported       counts prompt and output                             4
n                 refused      observed       "Field 'n': |<b>"                                    1
order             honoured     proven, 0.001  temperature last                                     0

proven: by a race with that error; observed: in answers that anybody can read; reported: by the
server itself.
Races hold where answers are independent, the server stays as it is, and its log-probabilities are
right within their noise.
It ended early: the cap of 42 requests is reached."""


def test_where_it_is_narrow_details_stand_below() -> None:
    lines = terminal(RESULT, 80).splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[lines.index("") + 1 :]
    assert table[:6] == [
        "parameter         verdict      known by       requests",
        "temperature       honoured     proven, 0.002        25",
        "    at 0, 0.4; cannot tell at 2; not at 1.5, which became 1; not excluded:",
        "    clamped to [0, 1.5] (~691 requests more); nor by any request here: floor of",
        "    0.01",
        "top_a             ignored      proven, 0.001         3",
    ]
    for width in (1, 40, 79, 100, 200):
        words = " ".join(terminal(RESULT, width).split())
        assert "10 answers from a log" in words
        assert "It ended early: the cap of 42 requests is reached." in words


def test_what_was_not_reached_is_told_in_one_sentence() -> None:
    late = Finding("cannot_tell", "observed", detail=str(RESULT.stopped))
    found = {**FINDINGS, "seed": late, "stop": late}
    result = replace(RESULT, parameters=found)
    for text in (str(result), result.markdown()):
        told = " ".join(text.split())
        assert told.endswith("That was before these, of which it cannot tell: seed, stop.")
        assert not [line for line in text.splitlines() if line.startswith(("seed", "| `seed"))]
    assert result.to_dict()["parameters"]["seed"]["detail"] == RESULT.stopped


def test_numbers_agree_with_their_nouns_and_the_cost_is_told() -> None:
    one = Spending(1, 1, 1, 1, 1)
    result = Verification({"top_k": Finding("honoured", "proven", 0.001)}, spending=one)
    head = terminal(result, 200, cost=0.00123).splitlines()
    assert head[1] == (
        "1 request (cap 800), 1 token read and 1 written, which cost 0.0012, 1 request sent again; "
        "1 answer from a log"
    )
    assert head[2] == "1 race, wrong with a chance of 0.001 at most; noise of logits 0.000"
    assert "which cost 12.35, 1 request" in markdown(result, cost=12.345)


@pytest.mark.parametrize(
    ("not_excluded", "detail"),
    [
        ({"a": 1.0, "b": 0.0}, "not excluded: b, a (~1 request more)"),
        ({"a": math.inf, "b": math.inf}, "not excluded by any request here: a, b"),
        (dict.fromkeys("abcde", math.inf), "not excluded by any request here: a, b, c, and 2 more"),
        (
            {**dict.fromkeys("abcd", 9), "e": math.inf},
            "not excluded: a (~9 requests more), b (~9 requests more), c (~9 requests more), "
            "and 2 more",
        ),
    ],
)
def test_what_is_left_is_told_by_what_would_exclude_it(
    not_excluded: dict[str, float], detail: str
) -> None:
    found = Finding(
        "cannot_tell", "proven", 0.001, (Claim(0.5, "cannot_tell"), Claim(2, "cannot_tell")),
        not_excluded=not_excluded, detail="Taken by it.",
    )  # fmt: skip
    assert f"taken by it; sent 0.5, 2; {detail}" in terminal(Verification({"x": found}), 300)


def test_a_server_cannot_steer_a_terminal() -> None:
    bad = "\x1b[2J\x1b]0;x\x07\nred\u202e"
    found = Finding("refused", "observed", says=bad, detail=bad, refused_values={bad: bad})
    result = Verification({"top_k": found}, model=bad, notes=(bad,), stopped=bad)
    for text in (str(result), result.markdown()):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert not any(line.startswith("red ") for line in text.splitlines())


def test_markdown_has_the_same_cells_and_no_markup_of_the_server() -> None:
    text = RESULT.markdown()
    assert "| parameter | verdict | known by | detail | requests |" in text
    assert "| `top_a` | ignored | proven, 0.001 |  | 3 |" in text
    assert "\\|" in text
    assert "\\<b>" in text
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(FINDINGS) + 1
    assert {line.replace("\\|", "").count("|") for line in rows} == {6}
    assert RESULT._repr_markdown_() == text


def test_json_holds_everything_and_is_json() -> None:
    document = json.loads(json.dumps(RESULT.to_dict(), allow_nan=False))
    assert document["schema"] == 1
    assert document["endpoint"]["fingerprints"] == ["f1", "f2"]
    assert document["endpoint"]["providers"] == ["X"]
    assert document["tokens"] == {"prompt": 1400, "completion": 90}
    assert document["requests"] == 42
    assert document["retries"] == 3
    assert document["log"] == "log.jsonl"
    assert document["order"]["detail"] == "temperature last"
    assert document["family_error"] == pytest.approx(0.005)
    assert len(document["assumptions"]) >= 4
    temperature = document["parameters"]["temperature"]
    assert temperature["verdict"] == "honoured"
    assert temperature["kind"] == "proven"
    assert temperature["error"] == 0.002
    assert temperature["claims"][2] == {
        "sent": 1.5, "verdict": "not_honoured", "used": 1.0, "log_e": 7.5,
    }  # fmt: skip
    assert temperature["claims"][0]["used"] == 0.0
    assert temperature["alive"][1] == {"rule": "clamped to [0, 1.5]", "log_e": None}
    assert temperature["not_excluded"][1] == {"rule": "floor of 0.01", "more_requests": None}
    assert document["parameters"]["presence_penalty"]["scope"] == "prompt and output"
    assert document["parameters"]["n"]["says"] == "Field 'n': |\x1b[31m<b>"
    assert set(document["parameters"]) == set(FINDINGS)


def test_what_cannot_be_told_is_of_no_kind_but_its_races_count() -> None:
    found = Finding("cannot_tell", "proven", 0.001, detail="clamped, or not")
    assert found.kind is None
    assert found.is_raced
    result = Verification({"top_k": found, "n": Finding("cannot_tell", "observed")})
    assert result.error == 0.001
    for entry in result.to_dict()["parameters"].values():
        assert entry["kind"] is None
    assert result.to_dict()["order"]["kind"] is None
    for text in (str(result), result.markdown()):
        assert "proven" not in text
        assert "observed" not in text
        assert "1 race, wrong with a chance of 0.001 at most" in text
        assert "hold where answers are independent" in text


def test_the_error_of_all_together_is_the_sum_of_the_proofs() -> None:
    assert RESULT.error == pytest.approx(0.002 + 0.001 + 0.001 + 0.001)
    many = Verification({str(n): Finding("honoured", "proven", 0.3) for n in range(9)})
    assert many.error == 1.0
    seen = Verification({"n": Finding("honoured", "observed", 0.3)})
    assert seen.error == 0


@pytest.mark.parametrize(
    ("keys", "honoured"),
    [
        ("temperature", True),
        ("temperature,presence_penalty", True),
        (["temperature", "top_a"], False),
        ("temperature, min_p", None),
        ("seed", None),
        ("min_p,n", False),
        ("typical_p", None),
    ],
)
def test_what_is_required_is_honoured_or_not_or_cannot_be_told(
    keys: str | list[str], honoured: bool | None
) -> None:
    assert RESULT.honoured(keys) is honoured


def test_wrong_names_are_told() -> None:
    with pytest.raises(ParameterError, match=r"keys must be names .* Did you mean temperature"):
        RESULT.honoured("temprature")
    with pytest.raises(ParameterError, match="keys must be at least one parameter, got ''"):
        RESULT.honoured("")
    with pytest.raises(ParameterError, match=r"got 'beyond'\. It stands for all samplers beyond"):
        RESULT.honoured("beyond")
    with pytest.raises(ParameterError, match=r"got 'dialects'\. That is a finding about no param"):
        RESULT.honoured("dialects")
    with pytest.raises(ParameterError, match=r"Did you mean top_p, top_k, top_a or top_n_sigma\?"):
        RESULT.honoured("top")
    with pytest.raises(ParameterError, match=r"Did you mean frequency_penalty, presence_penalty"):
        RESULT.honoured("penalties")
    with pytest.raises(ParameterError, match=r"got 'temp'\. Did you mean temperature\?"):
        RESULT.honoured("temp")
    for bad in (5, [5]):
        with pytest.raises(ParameterError, match="keys must be names of parameters"):
            RESULT.honoured(bad)  # type: ignore[arg-type]


def test_whatever_a_report_has_can_be_wanted_and_required() -> None:
    assert only_names("only", "reasoning_effort,dialects,beyond")
    assert required_names("keys", "reasoning_effort,verbosity") == ("reasoning_effort", "verbosity")


def test_the_cost_is_that_of_tokens_read_and_written() -> None:
    assert RESULT.spending.cost((2.0, 10.0)) == pytest.approx((1400 * 2 + 90 * 10) / 1e6)
