"""The log: whole whatever happens, without keys, and enough to make the report again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab import EndpointError, ParameterError, verify
from logitlab.verification import battery
from logitlab.verification.endpoint import Reply
from logitlab.verification.log import Log, Replay, read_log
from logitlab.verification.missing import missing
from logitlab.verification.study import Spent

from verification.sockets import said
from verification.stages import STAGES

MODEL = ll.models.NGram.bundled()


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "STAGES", STAGES)


def lab(body: dict[str, Any]) -> dict[str, Any]:
    return ll.chat(MODEL, body)


def verdicts(result: ll.Verification) -> dict[str, Any]:
    document = result.to_dict()
    for key in ("seconds", "recorded", "log", "retries"):
        document.pop(key)
    return document


def test_a_report_is_made_again_from_its_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    result = verify(lab, log=path, alpha=0.01, seed=3)
    again = verify(resume=path)
    assert verdicts(again) == verdicts(result)
    assert again == result
    assert again != verify(lab, alpha=0.02, seed=3)
    assert again != verdicts(result)
    assert again.alpha == 0.01
    assert again.spending.recorded == again.spending.requests == result.spending.requests
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["log"] == "logitlab verify"
    assert lines[0]["schema"] == 1
    assert lines[0]["settings"]["seed"] == 3
    assert len(lines) == 1 + result.spending.requests
    assert {"request", "status", "answer"} == set(lines[1])


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_run_goes_on_where_it_stopped(tmp_path: Path, jobs: int) -> None:
    path, asked = tmp_path / "log.jsonl", list[Any]()
    whole = verify(lab)
    begun = verify(lab, cap=12, log=path)
    assert begun.stopped == "the cap of 12 requests is reached"
    assert begun.parameters["top_k"].verdict == "cannot_tell"

    def counted(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        return lab(body)

    result = verify(counted, resume=path, cap=800, jobs=jobs)
    assert result.spending.recorded == 12
    assert len(asked) == result.spending.requests - 12
    assert {k: f.verdict for k, f in result.parameters.items()} == {
        k: f.verdict for k, f in whole.parameters.items()
    }
    again = verify(resume=path, cap=800)
    assert verdicts(again) == verdicts(result)
    assert again.spending.recorded == result.spending.requests


def test_a_line_that_broke_off_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    result = verify(lab, log=path)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    again = verify(resume=path)
    assert again.stopped == "the log has no more answers"
    assert "The last line of the log broke off, and was left out." in again.notes
    assert path.read_bytes() == data[:-20]  # offline nothing is written
    assert again.spending.requests == result.spending.requests - 1
    whole = verify(lab, resume=path)
    assert whole.stopped is None
    assert len(path.read_bytes().splitlines()) == len(data.splitlines())
    assert not read_log(path).is_torn


def test_every_answer_is_in_the_file_before_the_next_request(tmp_path: Path) -> None:
    path, seen = tmp_path / "log.jsonl", list[int]()

    def function(body: dict[str, Any]) -> dict[str, Any]:
        seen.append(len(path.read_text().splitlines()))
        return lab(body)

    verify(function, log=path)
    assert seen == [0, *range(2, len(seen) + 1)]


def test_where_nothing_was_answered_no_log_is_left(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(EndpointError):
        verify("http://127.0.0.1:1/v1", log=path)
    assert not path.exists()


def test_what_fails_in_the_middle_ends_it_with_what_was_found(tmp_path: Path) -> None:
    path, count = tmp_path / "log.jsonl", iter(range(1000))

    def dying(body: dict[str, Any]) -> dict[str, Any]:
        return lab(body) if next(count) < 14 else {}

    result = verify(dying, log=path)
    assert result.stopped == "The endpoint answers without choices"
    assert result.parameters["temperature"].verdict != "cannot_tell"
    assert result.parameters["top_k"].detail or result.parameters["top_k"].requests
    assert result.honoured("top_a") is None
    # What nobody could read is in the log as well, and read again it is no better.
    assert verify(resume=path).stopped == result.stopped

    with pytest.raises(EndpointError, match="answers without choices"):
        verify(lambda body: {})


def test_equal_bodies_are_answered_in_their_order() -> None:
    past = [({"seed": 1}, "a"), ({"seed": 2}, "b"), ({"seed": 1}, "c")]
    entries = tuple((body, Reply(200, said(text))) for body, text in past)
    replay = Replay(read_like(entries))
    texts = [answer.text() for answer in replay([{"seed": 1}, {"seed": 1}, {"seed": 2}])]
    assert texts == ["a", "c", "b"]
    with pytest.raises(Spent, match="the log has no more answers"):
        replay([{"seed": 1}])


def test_what_the_log_lacks_is_asked_for_together() -> None:
    batches: list[int] = []

    def replies(bodies: Sequence[Mapping[str, Any]]) -> Iterator[Reply]:
        batches.append(len(bodies))
        yield from (Reply(200, said(f"new {body['seed']}")) for body in bodies)

    replay = Replay(read_like((({"seed": 2}, Reply(200, said("old"))),)), replies)
    texts = [answer.text() for answer in replay([{"seed": seed} for seed in (1, 2, 3)])]
    assert texts == ["new 1", "old", "new 3"]
    assert batches == [2]


def test_a_request_that_the_log_lacks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    result = verify(lab, log=path)
    lines = path.read_text().splitlines(keepends=True)
    bodies = [json.loads(line)["request"] for line in lines[1:]]
    first = next(i for i, body in enumerate(bodies) if body.get("top_k") == 1)
    path.write_text("".join(lines[: first + 1] + lines[first + 2 :]))
    again = verify(resume=path)
    assert again.stopped is not None
    assert again.stopped.startswith(
        f"the log has no answer to request {first + 1}: the nearest in it has user "
    )
    assert again.spending.requests == first
    assert again.parameters["top_k"].verdict == "cannot_tell"
    assert verify(lab, resume=path) == result  # what is missing is asked for
    assert len(read_log(path).entries) == len(bodies)


def test_answers_that_nobody_asks_for_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    asked = verify(lab, log=path).spending.requests
    part = verify(resume=path, only="temperature")
    left = asked - part.spending.requests
    assert left > 0
    assert f"{left} answers of the log answered nothing asked here." in part.notes


@pytest.mark.parametrize(
    ("version", "rest"),
    [
        (None, ""),
        (ll.__version__, ""),
        ("0.1", f" (logitlab 0.1 wrote it, this is {ll.__version__})"),
    ],
)
def test_what_differs_from_the_log_is_told(version: str | None, rest: str) -> None:
    said = {"messages": [{"role": "user", "content": "Name a city."}]}
    logged = [{**said, "top_k": k, "seed": k, "n": 1} for k in (1, 2)]

    def told(**more: Any) -> str:
        return missing({**said, **more}, 7, logged, version)

    start = "the log has no answer to request 7: "
    assert told(top_k=1, seed=1, n=3) == f"{start}the nearest in it has n 1, and not 3{rest}"
    assert told(top_k=2, seed=2) == f"{start}the nearest in it has n, which this has not{rest}"
    assert told(top_k=2, seed=2, n=1, stop=["a"]) == (
        f'{start}the nearest in it has no stop, and not ["a"]{rest}'
    )
    assert told(top_k=2, seed=2, n=1) == (
        f"{start}it has 1 answer to the like of it, which is used{rest}"
    )
    other = {"messages": [{"role": "user", "content": "x" * 99}], "top_k": 2, "seed": 2, "n": 1}
    assert missing(other, 7, logged, version) == (
        f"""{start}the nearest in it has messages "Name a city.", and not "{"x" * 58}…{rest}"""
    )
    many = told(top_k=9, seed=9, n=9, stop="a", user="b")
    assert many.endswith(f"; seed 1, and not 9; n 1, and not 9; 2 more{rest}")
    assert missing(said, 7, [], version) == f"the log has no answer to request 7{rest}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "other"}, "model must be that of the log, 'grimm', got 'other'."),
        ({"provider": "x"}, "provider must be left out, as in the log, got 'x'."),
        ({"plain": True}, "plain must be that of the log, False, got True."),
        ({"prompts": "Hi"}, "prompts must be left out, as in the log, got ['Hi']."),
        ({"seed": 5}, "seed must be that of the log, 0, got 5."),
    ],
)
def test_what_all_requests_of_a_log_follow_cannot_change(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    path = tmp_path / "log.jsonl"
    result = verify(lab, log=path, model="grimm", cap=12)
    assert verify(resume=path, model="grimm", seed=0) == result
    for endpoint in (None, lab):
        with pytest.raises(ParameterError) as error:
            verify(endpoint, resume=path, **given)
        assert str(error.value) == f"{message} Another one needs a log of its own."


def read_like(entries: Any) -> Any:
    class Past:
        pass

    past: Any = Past()
    past.entries = entries
    past.pieces = {}
    return past


def test_a_log_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("mine\n")
    with pytest.raises(ParameterError) as error:
        verify(lab, log=path)
    assert str(error.value) == (
        f"log must be a file that is not there yet, got {str(path)!r}. resume, or --from, goes on "
        "with a log; nothing is overwritten."
    )
    assert path.read_text() == "mine\n"
    with pytest.raises(ParameterError) as error:
        verify(lab, log=tmp_path)
    assert str(error.value) == f"log must be a file, got {str(tmp_path)!r}. That is a folder."
    with pytest.raises(ParameterError, match="log must be a file that can be written"):
        verify(lab, log=tmp_path / "none" / "log.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "It is empty."),
        ("\n", "It is empty."),
        ('{"log": "logitlab ver', "Its first line breaks off."),
        ("{}\n", "Its first line begins no log."),
        ("[1]\n", "Line 1 is not a JSON object."),
        ('{"log": "logitlab verify", "schema": 9}\n', "resume must be a log of the schema 1, got"),
        ('{"log": "logitlab verify"}\n', "It has none."),
        (
            '{"log": "logitlab verify", "schema": 9, "logitlab": "9.1"}\n',
            f"It has 9, by logitlab 9.1, and this is {ll.__version__}.",
        ),
        (
            '{"log": "logitlab verify", "schema": 1}\n' * 2,
            "Line 2 begins a second log: a report is made from one.",
        ),
        ('{"log": "logitlab verify", "schema": 1}\nx\n{}\n', "Line 2 is not a JSON object."),
        ('{"log": "logitlab verify", "schema": 1}\n{}\n', "Line 2 is not a request with its an"),
        ('{"log": "logitlab verify", "schema": 1}\n{"pieces": 5}\n', "Line 2 is no text with"),
        (
            '{"log": "logitlab verify", "schema": 1, "endpoint": 5}\n',
            "Its first line has 5 as the endpoint.",
        ),
        (
            '{"log": "logitlab verify", "schema": 1, "settings": [1]}\n',
            "Its first line has no settings.",
        ),
        (
            '{"log": "logitlab verify", "schema": 1, "settings": {"alpha": "x"}}\n',
            "Its settings are none: alpha must be a number in [1e-12, 0.5], got 'x'.",
        ),
    ],
)
def test_what_is_no_log_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(ParameterError) as error:
        verify(resume=path)
    assert message in str(error.value)


def test_a_log_belongs_to_its_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    verify(lab, log=path)
    with pytest.raises(ParameterError, match="endpoint must be that of the log, a function, got"):
        verify("http://127.0.0.1:9/v1", resume=path)
    with pytest.raises(ParameterError, match="log must be left out where a log is resumed"):
        verify(lab, resume=path, log=path)
    with pytest.raises(ParameterError, match="resume must be a log that can be read"):
        verify(resume=tmp_path / "none")
    with pytest.raises(ParameterError, match="endpoint must be given where there is no log"):
        verify()


def test_numbers_of_numpy_are_logged_as_numbers(tmp_path: Path) -> None:
    import numpy as np

    log = Log(tmp_path / "log", {"endpoint": None})
    replay = Replay(None, lambda bodies: iter([Reply(200, said("a"))]), log)
    replay([{"seed": np.int64(5)}])
    log.close()
    assert read_log(tmp_path / "log").entries[0][0] == {"seed": 5}


def test_what_has_no_effect_on_a_log_alone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    verify(lab, log=path, cap=12)
    for name, value, shown in (("key", "sk-secret", "a key"), ("client", 5, "5")):
        with pytest.raises(ParameterError) as error:
            verify(resume=path, **{name: value})  # type: ignore[arg-type]
        assert str(error.value) == (
            f"{name} must be left out where no endpoint is given, got {shown}. No request is sent."
        )
