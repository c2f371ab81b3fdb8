"""The battery as it is, against simulated providers, over HTTP and out of a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab.cli import main
from logitlab.server.run import Background

from verification.odd_providers import Halved, Proxy, Thoughtful, running_model
from verification.providers import Provider

pytestmark = pytest.mark.slow


def provider(**faults: Any) -> Provider:
    return Provider("vllm", faults, seed=5)


def same(result: ll.Verification) -> dict[str, Any]:
    document = result.to_dict()
    for key in ("seconds", "recorded", "log", "retries", "started"):
        document.pop(key)
    return document


@pytest.mark.parametrize(
    ("faults", "verdicts"),
    [
        ({}, {"top_k": "honoured", "seed": "honoured"}),
        (dict.fromkeys(("seed", "stop"), "ignored"), {"seed": "ignored", "stop": "ignored"}),
        (dict.fromkeys(("top_k", "seed"), "refused"), {"top_k": "refused", "seed": "refused"}),
    ],
)
def test_planted_faults_are_found_and_the_log_tells_the_same(
    faults: dict[str, Any], verdicts: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    result = ll.verify(provider(**faults), only=[*verdicts], log=path)
    assert {key: result.parameters[key].verdict for key in verdicts} == verdicts
    again = ll.verify(resume=path)
    assert same(again) == same(result)
    assert str(again).splitlines()[3:] == str(result).splitlines()[3:]
    own = [each.error - each.relies for each in result.parameters.values()]
    assert max(own) <= 2 * result.alpha
    assert result.honoured(verdicts) is (not faults)


def test_a_run_that_is_cut_off_has_a_finding_for_all_and_goes_on(tmp_path: Path) -> None:
    path, only = tmp_path / "log.jsonl", ("seed", "stop")
    part = ll.verify(provider(), only=only, cap=25, log=path)
    assert part.stopped == "the cap of 25 requests is reached"
    assert set(part.parameters) == {"logprobs", *only}
    assert part.spending.requests <= 25
    assert part.parameters["stop"].verdict == "cannot_tell"
    assert ll.verify(resume=path).to_dict()["parameters"] == part.to_dict()["parameters"]
    result = ll.verify(provider(), cap=800, resume=path)
    assert result.stopped is None
    assert result.spending.recorded == part.spending.requests
    assert result.honoured(only)


def test_without_log_probabilities_draws_decide() -> None:
    plain = provider()

    def function(body: dict[str, Any]) -> Any:
        if "logprobs" in body:
            return 400, {"error": {"message": "logprobs are not available"}}
        return plain(body)

    result = ll.verify(function, only="temperature,top_k,seed")
    assert result.parameters["logprobs"].verdict == "refused"
    for key in ("temperature", "top_k", "seed"):
        assert result.parameters[key].verdict == "honoured"
        assert result.parameters[key].kind == "proven"


def test_the_command_examines_a_server_and_leaves_with_its_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Background(ll.models.NGram.bundled(), engine="llama_cpp") as server:
        with pytest.raises(SystemExit) as left:
            main(["verify", server.url, "--require", "seed,stop", "--only", "seed,stop", "--json"])
        assert left.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"]["seed"]["kind"] == "proven"
    assert document["parameters"]["seed"]["error"] <= 0.001


def test_of_a_proxy_one_provider_is_examined() -> None:
    behind = {"a": provider(), "b": provider(stop="ignored", seed="ignored")}
    result = ll.verify(Proxy(behind, [0.75, 0.25], seed=1), only="seed,stop")
    assert result.honoured("seed,stop")
    assert {identity.provider for identity in result.identities} == {"a", "b"}
    assert any("The answers name 2 deployments" in note for note in result.notes)
    for name, wanted in {"a": True, "b": False}.items():
        pinned = ll.verify(Proxy(behind, [0.75, 0.25]), only="seed,stop", provider=name)
        assert pinned.honoured("seed,stop") is wanted
        assert {identity.provider for identity in pinned.identities} == {name}


@pytest.mark.parametrize("off", ["reasoning", "reasoning_effort", "chat_template_kwargs"])
def test_a_model_that_thinks_is_asked_not_to(off: str) -> None:
    wise = running_model(Thoughtful, "vllm", seed=1)

    def function(body: dict[str, Any]) -> Any:
        others = {"reasoning", "reasoning_effort", "chat_template_kwargs"} - {off}
        return wise({key: value for key, value in body.items() if key not in others})

    result = ll.verify(function, only="max_tokens")
    assert any("The model thinks first" in note and off in note for note in result.notes)
    assert result.honoured("max_tokens")


def test_half_characters_hide_no_log_probabilities() -> None:
    result = ll.verify(running_model(Halved, "llama_cpp", seed=1), only="max_tokens")
    assert result.parameters["logprobs"].verdict == "honoured"
