"""``logitlab verify``: what it asks, prints, writes, and the status that it leaves with."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab.cli import main
from logitlab.server.run import Background
from logitlab.verification import battery, delays

from verification.sockets import Sockets, http, said
from verification.stages import STAGES, Fake

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "STAGES", STAGES)
    monkeypatch.setattr(delays, "LONGEST", 0.01)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LAB_KEY", KEY)


@pytest.fixture(scope="module")
def server() -> Iterator[Background]:
    with Background(ll.models.NGram.bundled(), api_key=KEY, fail=["503:0.1"]) as server:
        yield server


def status(*words: str) -> int:
    try:
        return main(["verify", *words])
    except SystemExit as left:
        return int(left.code or 0)


def test_a_table_an_estimate_and_the_cost(
    server: Background, capsys: pytest.CaptureFixture[str]
) -> None:
    # The server at hand honours temperature and top_k; top_a 1 leaves one token of some rows.
    assert status(server.url, "--key-env", "LAB_KEY", "--price", "1,10") == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"{server.url}, model grimm\n")
    assert "temperature  honoured  proven, 0.001" in told.out
    assert "sent again" in told.out  # the failures that are played
    assert told.err.startswith("About 24 requests, at most 800; about 432 tokens to read and 55 ")
    assert "to write: about 0.00098.\n" in told.err
    assert " written, which cost 0.00" in told.out
    assert KEY not in told.out + told.err


def test_json_and_markdown_go_out_alone(
    server: Background, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [server.url, "--key-env", "LAB_KEY", "--quiet", "--only", "top_k"]
    assert status(*words, "--json", "--price", "1,1") == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["parameters"]["top_k"]["verdict"] == "honoured"
    assert set(document["parameters"]) == {"logprobs", "top_k"}
    assert document["cost"] > 0
    assert told.err == ""
    assert status(*words, "--markdown", "--price", "1,10") == 0
    told = capsys.readouterr()
    assert "| `top_k` | honoured |" in told.out
    assert " written, which cost 0.00" in told.out
    assert told.err == ""


@pytest.mark.parametrize(
    ("required", "expected"),
    [
        ("temperature,top_k", 0),
        ("top_a", 1),
        ("temperature,top_a,seed", 1),
        ("seed,top_k", 2),
    ],
)
def test_the_status_says_whether_what_is_required_is_honoured(
    monkeypatch: pytest.MonkeyPatch,
    server: Background,
    capsys: pytest.CaptureFixture[str],
    required: str,
    expected: int,
) -> None:
    ignored = Fake("top_a", 0.0)  # as if nobody had sent it
    monkeypatch.setattr(battery, "STAGES", (*STAGES[:2], ignored))
    words = [server.url, "--key-env", "LAB_KEY", "--quiet", "--require", required]
    assert status(*words) == expected
    told = capsys.readouterr().err.splitlines()
    lines = {"top_a": "--require top_a: ignored.", "seed": "--require seed: it was not examined."}
    assert told == [lines[key] for key in required.split(",") if key in lines]


def test_why_what_is_required_cannot_be_told_is_said(
    server: Background, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [server.url, "--key-env", "LAB_KEY", "--quiet", "--cap", "2", "--require", "top_k"]
    assert status(*words) == 2
    told = capsys.readouterr()
    assert told.err == "--require top_k: cannot tell, the cap of 2 requests is reached.\n"
    assert "It ended early: the cap of 2 requests is reached." in told.out


def test_the_key_is_nowhere(
    server: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, plot = tmp_path / "log.jsonl", tmp_path / "evidence.svg"
    words = ["--log", str(log), "--plot", str(plot), "--key-env", "LAB_KEY"]
    assert status(server.url, *words, "--require", "top_k") == 0
    assert status("--from", str(log), "--json") == 0
    told = capsys.readouterr()
    assert len(log.read_text().splitlines()) > 20
    for text in (told.out, told.err, log.read_text(), plot.read_text()):
        assert KEY not in text
        assert "LAB_KEY" not in text


def test_a_key_that_comes_back_is_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    answer = said(f"You are {KEY}", id=KEY, system_fingerprint=KEY)
    refusal = {"error": {"message": f"{KEY} must not send top_a"}}
    with Sockets([http(404, b""), *[http(200, answer)] * 9, http(400, refusal)]) as server:
        status(server.url, "--key-env", "LAB_KEY", "--log", str(log), "--json")
        assert KEY.encode() in server.requests[3]
    told = capsys.readouterr()
    assert "[key]" in told.out
    assert "[key]" in log.read_text()
    for text in (told.out, told.err, log.read_text()):
        assert KEY not in text


def test_a_report_is_made_offline_and_goes_on(
    server: Background,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "log.jsonl"
    words = ["--key-env", "LAB_KEY", "--quiet", "--json"]
    assert status(server.url, "--log", str(log), "--cap", "12", *words) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["stopped"] == "the cap of 12 requests is reached"
    assert status(server.url, "--from", str(log), "--cap", "800", *words) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["recorded"] == 12
    assert whole["stopped"] is None

    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("offline is offline")

    monkeypatch.setattr(socket, "create_connection", no_network)
    assert status("--from", str(log), "--cap", "800", "--json", "--require", "top_k") == 0
    again = json.loads(capsys.readouterr().out)
    for key in ("parameters", "requests", "tokens", "notes", "started", "endpoint"):
        assert again[key] == whole[key]


def test_nothing_else_is_connected_to(server: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what an answer names, nor a proxy of the environment."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    places, connect = set[Any](), socket.create_connection

    def counted(address: Any, *rest: Any, **how: Any) -> Any:
        places.add(address)
        return connect(address, *rest, **how)

    monkeypatch.setattr(socket, "create_connection", counted)
    assert status(server.url, "--key-env", "LAB_KEY", "--jobs", "2") == 0
    assert places == {("127.0.0.1", int(server.url.rpartition(":")[2].partition("/")[0]))}


def test_ctrl_c_leaves_the_log_whole_and_the_report_so_far(
    server: Background,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "log.jsonl"

    class Interrupting(Fake):
        def __call__(self, study: Any, keys: Any = ()) -> None:
            study.ask("Name a city.")
            os.kill(os.getpid(), signal.SIGINT)
            super().__call__(study)

    monkeypatch.setattr(battery, "STAGES", (STAGES[0], Interrupting("top_k", 1), STAGES[2]))
    assert threading.current_thread() is threading.main_thread()
    assert status(server.url, "--key-env", "LAB_KEY", "--log", str(log)) == 130
    told = capsys.readouterr()
    assert "temperature  honoured" in told.out
    assert "top_k        cannot tell" in told.out
    assert "That was before these, of which it cannot tell: top_a." in told.out
    assert "It ended early: it was interrupted." in told.out
    assert all(json.loads(line) for line in log.read_text().splitlines())
    assert log.read_text().endswith("}\n")


def test_the_picture_is_written(server: Background, tmp_path: Path) -> None:
    plot = tmp_path / "evidence.png"
    assert status(server.url, "--key-env", "LAB_KEY", "--plot", str(plot)) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "URL must be given where there is no --from, got nothing."),
        (["localhost:8080"], "URL must be a URL such as http://127.0.0.1:8080/v1, got localhost"),
        (
            ["http://h/v1", "--only", "temprature"],
            "--only must be names of parameters, such as temperature,top_p, got 'temprature'. Did",
        ),
        (
            ["http://h/v1", "--require", "nonsense"],
            "--require must be names of parameters, such as temperature,top_p, got 'nonsense'.",
        ),
        (["http://h/v1", "--require", ""], "--require must be at least one parameter, got ''."),
        (
            ["http://h/v1", "--only", "top_k", "--require", "top_k,seed"],
            "--require must be among top_k, which is all that is examined, got 'seed'.",
        ),
        (
            ["http://h/v1", "--quick", "--require", "seed"],
            "--require must be among top_k, top_p, min_p, temperature, which is all that a quick",
        ),
        (
            ["http://h/v1", "--require", "skew"],
            "--require must be parameters that are examined, got 'skew'. No request that is sent",
        ),
        (
            ["http://h/v1", "--only", "skew"],
            "--only must be parameters that are examined, got 'skew'. No request that is sent",
        ),
        (["http://h/v1", "--price", "1"], "--price must be two numbers, IN,OUT, got '1'."),
        (["http://h/v1", "--price", "1,x"], "--price must be"),
        (["http://h/v1", "--jobs", "0"], "--jobs must be an integer in [1, 64], got 0."),
        (["http://h/v1", "--cap", "0"], "--cap must be an integer >= 1, got 0."),
        (["http://h/v1", "--alpha", "2"], "--alpha must be in [1e-12, 0.5], got 2"),
        (["http://h/v1", "--seed", "x"], "--seed must be an integer"),
        (["http://h/v1", "--timeout", "0"], "--timeout must be in [0.001, 86400], got 0"),
        (["http://h/v1", "--plot", "a.xyz"], "--plot must be a file that ends in one of"),
        (
            ["http://h/v1", "--key-env", "NO_SUCH_KEY"],
            "--key-env must be the name of a variable that is set, got another.",
        ),
        (["--from", "none.jsonl"], "--from must be a log that can be read, got 'none.jsonl'."),
        (["http://127.0.0.1:1/v1"], "http://127.0.0.1:1/v1 does not answer: nothing listens"),
    ],
)
def test_mistakes_are_told_and_leave_with_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*words) == 2
    told = capsys.readouterr()
    assert f"logitlab: error: {message}" in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--alpha", "2"], "--alpha must be in [1e-12, 0.5], got 2"),
        (["--log", "there"], "--log must be a file that is not there yet, got 'there'."),
        (["--log", "no/such"], "--log must be a file in an existing folder, got 'no/such'."),
        (["--from", "no"], "--from must be a log that can be read, got 'no'. No such file"),
        (["--from", "there"], "--from must be a log of logitlab verify, got 'there'. Its first li"),
        (["--from", "old", "--model", "b"], "--model must be that of the log, 'a', got 'b'."),
        (["--from", "old", "--require", "seed"], "--require must be among top_k, which is all th"),
        (["--from", "other"], "endpoint must be that of the log, http://h/v1, got http://127"),
        (["--from", "wrong"], "--from must be a log of logitlab verify, got 'wrong'. Its settings"),
        (["--price", "-1,2"], "--price must be in [0, "),
        (["--jobs", "x"], "--jobs must be an integer in [1, 64], got 'x'."),
        (["--timeout", "nan"], "--timeout must be in [0.001, 86400], got nan."),
        (["--seed", "-1"], "--seed must be an integer in [0, "),
        (["--require", "seed", "--quick"], "--require must be among top_k"),
        (["--require", "beyond"], "--require must be names of parameters, such as temperature,top"),
        (["--key-env", "NO_SUCH_KEY"], "--key-env must be the name of a variable"),
        (["--plot", "a.xyz"], "--plot must be a file that ends in one of"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_announced_or_asked(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be asked")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("{}\n")
    head = {"log": "logitlab verify", "schema": 1, "endpoint": "http://127.0.0.1:1/v1"}
    (tmp_path / "other").write_text(json.dumps({**head, "endpoint": "http://h/v1"}) + "\n")
    settings = {"only": ["top_k"], "model": "a"}
    (tmp_path / "old").write_text(json.dumps({**head, "settings": settings}) + "\n")
    (tmp_path / "wrong").write_text(json.dumps({**head, "settings": {"cap": 0}}) + "\n")
    assert status("http://127.0.0.1:1/v1", *words) == 2
    told = capsys.readouterr()
    assert told.err.startswith("logitlab: error: ")
    assert message in told.err.replace("URL must be that", "endpoint must be that")
    assert len(told.err.splitlines()) == 1
    assert told.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [*("old", "other", "there", "wrong")]


@pytest.mark.parametrize(
    ("option", "value"), [("--key-env", "LAB_KEY"), ("--timeout", "120"), ("--jobs", "1")]
)
def test_an_option_that_nothing_would_come_of_is_told(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("--from", "log", option, value) == 2
    shown = "a name" if option == "--key-env" else repr(value)
    assert capsys.readouterr().err == (
        f"logitlab: error: {option} must be left out where --from has no URL, got {shown}. "
        "No request is sent: the report is made from the log alone.\n"
    )


def test_a_report_that_tells_nothing_leaves_with_2(
    server: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    head = {"log": "logitlab verify", "schema": 1, "endpoint": "http://h/v1"}
    log.write_text(json.dumps(head) + "\n")
    assert status("--from", str(log)) == 2
    told = capsys.readouterr()
    assert told.err == "logitlab: error: Nothing could be told: the log has no more answers.\n"
    assert "It ended early: the log has no more answers." in told.out
    assert status("--from", str(log), "--json") == 2
    found = json.loads(capsys.readouterr().out)["parameters"]["top_k"]
    assert (found["verdict"], found["kind"]) == ("cannot_tell", None)
    assert status(server.url, "--key-env", "LAB_KEY", "--quiet", "--cap", "1") == 2


def test_the_estimate_of_a_log_that_goes_on_is_of_what_is_left(
    server: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, words = tmp_path / "log", ["--key-env", "LAB_KEY"]
    assert status(server.url, "--log", str(log), "--cap", "12", *words) == 0
    assert "About 12 requests, at most 12;" in capsys.readouterr().err
    assert status(server.url, "--from", str(log), "--cap", "800", *words) == 0
    assert "About 12 requests, at most 788; about 216 tokens" in capsys.readouterr().err


def test_a_log_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    path.write_text("mine")
    assert status("http://127.0.0.1:1/v1", "--log", str(path)) == 2
    assert "--log must be a file that is not there yet, got" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_a_log_for_new_answers_and_one_to_go_on_with_are_one(
    server: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, other = tmp_path / "log", tmp_path / "other"
    words = ["--key-env", "LAB_KEY", "--quiet", "--cap", "12"]
    assert status(server.url, "--log", str(log), *words) == 0
    capsys.readouterr()
    assert status("--from", str(log), "--log", str(other)) == 2
    assert capsys.readouterr().err == (
        f"logitlab: error: --log must be left out where a log is resumed, got {str(other)!r}. "
        "New answers are added to that log.\n"
    )
    assert not other.exists()
    assert status("--from", str(log), "--model", "other") == 2
    assert capsys.readouterr().err == (
        "logitlab: error: --model must be that of the log, 'grimm', got 'other'. Another one needs "
        "a log of its own.\n"
    )


def test_words_of_a_server_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Sockets([http(404, b""), http(418, b"\x1b[31mshort\nand\x07 stout", kind="")]) as server:
        assert status(server.url) == 2
    told = capsys.readouterr().err
    assert told.endswith(
        "logitlab: error: The endpoint refuses the simplest request: 418, short and stout.\n"
    )
