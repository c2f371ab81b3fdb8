"""Each option in its form: flags, lists of ids, texts that are given several times, maps."""

from __future__ import annotations

import argparse
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from logitlab import SamplingParams, engines
from logitlab.cli import main
from logitlab.cli.arguments import add_request, request_of
from logitlab.request.params import PARAMETERS, TWENTY

ROLES = ("distribution", "draw", "ending", "prompt")


def read(line: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_request(parser, ROLES)
    return request_of(parser.parse_args(line.split()))


def run(*words: str) -> tuple[Any, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(words)
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("--ignore-eos --p-less", {"ignore_eos": True, "p_less": True}),
        ("--allowed-token-ids 5,17", {"allowed_token_ids": [5, 17]}),
        ("--eos-token-id 2", {"eos_token_id": [2]}),
        ("--stop-token-ids [5,6]", {"stop_token_ids": [5, 6]}),
        ('--watermarking-config {"bias":1.5}', {"watermarking_config": {"bias": 1.5}}),
        ("--bad-words king --bad-words 5", {"bad_words": ["king", "5"]}),
        ("--bad-words ␣king", {"bad_words": [" king"]}),
        ("--dry-sequence-breakers ␣*", {"dry_sequence_breakers": [" *"]}),
        ("--thinking-markers <a> --thinking-markers </a>", {"thinking_markers": ["<a>", "</a>"]}),
        ("--sequence-bias 5,17=2.5 --sequence-bias 3=-1",
         {"sequence_bias": [[[5, 17], 2.5], [[3], -1]]}),
        ("--repetition-detection max_pattern_size=3,min_count=2",
         {"repetition_detection": {"max_pattern_size": 3, "min_count": 2}}),
        ("--exponential-decay-length-penalty 5,1.2",
         {"exponential_decay_length_penalty": [5, 1.2]}),
        ("--stop 5 --stop a", {"stop": ["5", "a"]}),
        ("--negative-prompt 12", {"negative_prompt": "12"}),
    ],
)  # fmt: skip
def test_an_option_is_read_in_its_form(line: str, request_: dict[str, Any]) -> None:
    body = read(line)
    assert list(body) == sorted(body, key=list(PARAMETERS).index)
    assert body == request_
    SamplingParams.from_request(body)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sequence-bias", "5"],
         "--sequence-bias must be IDS=VALUE, token ids and a number, got '5'."),
        (["--sequence-bias", "a=1"], "sequence_bias must be of token ids >= 0, got 'a'"),
        (["--allowed-token-ids", "5,x"], "allowed_token_ids must be of token ids >= 0, got 'x'"),
        (["--watermarking-config", "bias"],
         "--watermarking-config must be KEY=VALUE,KEY=VALUE with each key once, got 'bias'."),
        (["--watermarking-config", "bias=1,bias=2"], "with each key once, got 'bias=1,bias=2'."),
        (["--bad-words", "no single token of all"],
         "bad_words must be of texts of one token each, or token ids, where no tokenizer is at"),
        (["--allowed-token-ids", "49152"], "allowed_token_ids must be of token ids in [0, 49151]"),
    ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(words: list[str], message: str) -> None:
    status, out, err = run("trace", *words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_every_parameter_has_an_option_in_a_group() -> None:
    parser = argparse.ArgumentParser()
    add_request(parser, ROLES)
    page, beyond = (
        next(group for group in parser._action_groups if group.title == title)
        for title in ("request", "request, beyond the page")
    )
    for group, is_page in ((page, True), (beyond, False)):
        keys = {action.dest for action in group._group_actions} - {"set"}
        expected = {
            key
            for key, known in PARAMETERS.items()
            if known.role in ROLES and (key in TWENTY) == is_page
        }
        assert keys == expected


def test_the_help_says_what_may_be_repeated_and_what_a_row_cannot_have() -> None:
    for roles, has_model in ((ROLES, True), (ROLES[:2], False)):
        parser = argparse.ArgumentParser()
        add_request(parser, roles)
        actions = {action.dest: action for action in parser._actions}
        again = {key for key, action in actions.items() if "several times" in (action.help or "")}
        assert again == {
            key for key, action in actions.items() if type(action).__name__ == "_AppendAction"
        }
        assert {"bad_words", "dry_sequence_breakers", "thinking_markers", "set"} <= again
        scale = actions["guidance_scale"].help or ""
        assert ("A row of logits takes 1 alone." in scale) is not has_model


def test_a_ban_takes_the_label_that_a_trace_prints() -> None:
    plain, marked = (
        json.loads(run("trace", "--bad-words", text, "--json", "--seed", "1")[1])
        for text in (" king", "␣king")
    )
    assert plain == marked


def test_texts_are_spelt_with_the_vocabulary_of_the_row() -> None:
    status, out, _ = run("trace", "--row", "3", "--bad-words", "king", "--json", "--seed", "1")
    assert status == 0
    report = json.loads(out)
    assert report["request"]["bad_words"] == ["king"]
    top = [[each["label"] for each in stage["top"]] for stage in report["stages"]]
    assert "␣king" in top[0]
    assert "␣king" not in top[1]
    status, out, _ = run("engines", "--row", "3", "--bad-words", "king", "--engines", "openrouter")
    assert status == 0


def test_a_generation_ends_as_it_is_told() -> None:
    line = ("generate", "Once upon a time", "--max-tokens", "30", "--seed", "7")
    detected = (
        "--repetition-detection",
        "max_pattern_size=1,min_count=3",
        "--logit-bias",
        "97=100",
    )
    status, out, err = run(*line, *detected)
    assert (status, out) == (0, "aaa\n")
    assert "It ended in 3 times the same token." in err
    status, out, err = run(*line, "--stop", "her", "--include-stop-str-in-output")
    assert out.endswith("her\n")
    assert "The stop string 'her' was found" in err
    assert " a " in run(*line)[1]
    assert " a " not in run(*line, "--bad-words", "a", "--min-tokens", "20")[1]


def test_nothing_stands_beside_what_engines_declare() -> None:
    for words in (("--bad-words", "x"), ("--ignore-eos",), ("--sequence-bias", "5=1")):
        status, _, err = run("engines", "--about", *words)
        assert status == 2
        assert f"{words[0]} must be absent beside --about and --differences" in err


def test_values_reach_the_chain() -> None:
    body = read("--allowed-token-ids 1,2 --sequence-bias 1=2 --min-tokens 2 --eos-token-id 0")
    assert [step.key for step in engines.openrouter(body)] == [  # type: ignore[attr-defined]
        "allowed_token_ids",
        "sequence_bias",
        "min_tokens",
    ]
