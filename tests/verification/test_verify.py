"""`verify` as a whole: settings, deployments that change, caches, routers, and what it asks for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import logitlab as ll
import pytest
from logitlab import EndpointError, ParameterError, verify
from logitlab.server import Background
from logitlab.verification import battery
from logitlab.verification.identity import Identity, Watch

from verification.stages import STAGES, Fake

MODEL = ll.models.NGram.bundled()


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "STAGES", STAGES)


def lab(body: dict[str, Any]) -> dict[str, Any]:
    return ll.chat(MODEL, body)


def named(names: Callable[[int], dict[str, str]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the model, whose n-th answer has other names."""
    numbers = itertools.count(1)
    return lambda body: {**lab(body), **names(next(numbers))}


def test_what_another_deployment_answers_is_set_aside_and_asked_for_again() -> None:
    result = verify(named(lambda n: {"system_fingerprint": "b" if n % 5 == 0 else "a"}))
    home, other = Identity("grimm", None, "a"), Identity("grimm", None, "b")
    assert set(result.identities) == {home, other}
    refused = 1  # 200 log-probabilities
    answered = sum(count for count, _ in result.identities.values())
    assert result.spending.requests == answered + refused
    assert result.parameters["top_k"].verdict == "honoured"
    assert result.stopped is None
    [note] = (note for note in result.notes if "deployments" in note)
    assert note.startswith("The answers name 2 deployments: grimm a ")
    assert f"grimm b {result.identities[other][0]} times from answer 4. What is said here " in note
    fingerprints = result.to_dict()["endpoint"]["fingerprints"]
    assert fingerprints == ["a", "b"]


def test_a_deployment_that_is_gone_ends_it() -> None:
    result = verify(named(lambda n: {"provider": "old" if n < 15 else "new"}))
    assert result.stopped == ("grimm old logitlab-grimm does not answer any more, but others do")
    assert result.parameters["temperature"].verdict == "honoured"
    assert result.parameters["top_a"].verdict == "cannot_tell"
    capped = verify(named(lambda n: {"provider": "old" if n < 15 else "new"}), cap=18)
    assert capped.stopped == "the cap of 18 requests is reached"


def test_a_fingerprint_that_is_always_new_names_nothing() -> None:
    result = verify(named(lambda n: {"system_fingerprint": f"f{n}"}))
    assert result.stopped is None
    assert "The fingerprint differs from answer to answer, and was not looked at." in result.notes
    assert list(result.identities) == [Identity("grimm")]


def test_a_watch_counts_no_more_names_than_anybody_reads() -> None:
    watch = Watch()
    for n in range(1000):
        watch.see({"model": str(n)})
    assert len(watch.seen) == 64
    assert watch.answers == 1000


def test_a_cache_proves_nothing() -> None:
    kept: dict[str, Any] = {}

    def cached(body: dict[str, Any]) -> Any:
        return kept.setdefault(repr(sorted(body.items(), key=repr)), lab(body))

    result = verify(cached)
    assert any("a cache" in note for note in result.notes)
    raced = [Fake("temperature", 0.0, needs="draws"), Fake("n", 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(battery, "STAGES", raced)
        result = verify(cached)
    assert result.parameters["temperature"].verdict == "cannot_tell"
    assert result.parameters["temperature"].detail.startswith("a cache answers")
    assert result.parameters["n"].verdict != "cannot_tell"


def test_a_router_is_pinned_to_who_answers() -> None:
    bodies: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": "a"}, {"id": "b"}]})
        import json

        body = json.loads(request.content)
        bodies.append(body)
        order = body.pop("provider", {"order": ["First"]})["order"]
        return httpx.Response(200, json={**lab(body), "provider": order[0]})

    client = httpx.Client(transport=httpx.MockTransport(handle))
    result = verify("https://openrouter.ai", model="m", client=client, key="sk-test-0123")
    assert "The router was pinned to First, which answered most." in result.notes
    last = bodies[-1]
    bodies.clear()
    verify("https://openrouter.ai", model="m", client=client, provider="X", key="sk-test-0123")
    assert last["model"] == "m"
    assert result.to_dict()["endpoint"]["providers"] == ["First"]


def served(models: list[str], refuses: bool = False) -> httpx.Client:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            assert request.url.path == "/v1/models"
            return httpx.Response(200, json={"data": [{"id": name} for name in models]})
        import json

        body = json.loads(request.content)
        if refuses and body.get("model") not in models:
            words = f"The model {body.get('model')!r} does not exist."
            return httpx.Response(404, json={"error": {"message": words}})
        return httpx.Response(200, json=lab(body))

    return httpx.Client(transport=httpx.MockTransport(handle))


def test_the_model_is_the_only_one_or_has_to_be_named() -> None:
    url = "http://lab.invalid/v1"
    assert verify(url, client=served(["one"], refuses=True)).model == "one"
    assert verify(url, client=served(["one", "two"])).model is None
    many = [f"m{n}" for n in range(9)]
    with pytest.raises(EndpointError) as error:
        verify(url, client=served(many, refuses=True))
    assert str(error.value).endswith(
        "A model is named by model=, or --model. It has m0, m1, m2, m3, m4, m5 and 3 more."
    )


async def _waits(body: Any) -> Any:
    return lab(body)


async def _waits_and_streams(body: Any) -> Any:
    yield lab(body)


def _streams(body: Any) -> Any:
    yield lab(body)


class _Waits:
    async def __call__(self, body: Any) -> Any:
        return lab(body)


@pytest.mark.parametrize("function", [_waits, _waits_and_streams, _Waits(), partial(_waits)])
def test_an_async_function_is_told_at_once(function: Any) -> None:
    with pytest.raises(ParameterError) as error:
        verify(function)
    assert str(error.value).startswith("endpoint must be a function that returns its answer, got ")
    hint = "lambda body: asyncio.run(function(body)) waits for an async one."
    assert str(error.value).endswith(f". {hint}")


def test_what_the_hint_says_of_async_functions_works() -> None:
    assert verify(lambda body: asyncio.run(_waits(body)), cap=12).parameters
    with pytest.raises(
        ParameterError, match=r"got <function _streams .*>\. Streams are not read\."
    ):
        verify(_streams)


def test_a_result_is_short_and_equals_another_that_says_the_same() -> None:
    result = verify(lab)
    count = result.spending.requests
    assert repr(result) == f"<Verification of a function: 3 honoured, 1 ignored; {count} requests>"
    assert repr(verify(lab, cap=1)).endswith(" cannot tell; 1 request>")
    assert "history" not in repr(result.parameters["top_k"])
    assert len(repr(result.parameters["top_k"])) < 300
    assert result == verify(lab)
    assert result != verify(lab, seed=1)
    assert result != 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0}, r"alpha must be in \[1e-12, 0\.5\], got 0"),
        ({"cap": 0}, "cap must be an integer in"),
        ({"seed": -1}, "seed must be an integer in"),
        (
            {"only": "temprature"},
            r"only must be names of parameters, .* Did you mean temperature\?",
        ),
        ({"quick": 1}, "quick must be True or False, got 1"),
        ({"plain": "no"}, "plain must be True or False"),
        ({"model": 5}, "model must be a name, got 5"),
        ({"provider": b"x"}, "provider must be a name"),
        ({"prompts": []}, "prompts must be texts, at least one"),
        ({"prompts": [5]}, "prompts must be texts that are not empty, got 5"),
        ({"prompts": ["a", " "]}, "prompts must be texts that are not empty, got ' '"),
        ({"prompts": ["\ud800"]}, "prompts must be texts that are not empty, got"),
        ({"prompts": {"a": 1}}, "prompts must be texts, at least one"),
        ({"prompts": b"a"}, "prompts must be texts, at least one"),
        ({"model": ""}, "model must be a name, got ''"),
        ({"only": "skew"}, "only must be parameters that are examined, got 'skew'. No request "),
        ({"progress": 1}, "progress must be True or False, got 1"),
        ({"progress": "yes"}, "progress must be True or False, got 'yes'"),
        ({"prompts": 5}, "prompts must be texts, at least one, got 5"),
        ({"tokenizer": 5}, "tokenizer must be a function from a text to the bytes of its tokens"),
        ({"jobs": 0}, r"jobs must be an integer in \[1, 64\], got 0"),
        ({"retries": -1}, r"retries must be an integer in \[0, 20\]"),
        ({"timeout": 0}, r"timeout must be in \[0\.001, 86400\], got 0"),
        ({"key": "sk-test"}, "key must be left out where the endpoint is a function"),
        ({"client": 5}, "client must be left out where the endpoint is a function"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_asked(
    settings: dict[str, Any], message: str
) -> None:
    def never(body: Any) -> Any:
        raise AssertionError("nobody is asked")

    with pytest.raises(ParameterError, match=message):
        verify(never, **settings)


def test_settings_come_from_the_log_unless_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "log"
    verify(lab, log=path, alpha=0.01, cap=30, only="top_k", prompts="Once", model="m")
    again = verify(resume=path)
    assert (again.alpha, again.cap, again.model) == (0.01, 30, "m")
    assert set(again.parameters) == {"logprobs", "top_k"}
    assert verify(resume=path, alpha=0.05).alpha == 0.05


def test_prompts_and_tokenizers_reach_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Looking(Fake):
        def __call__(self, study: Any, keys: Any = ()) -> None:
            seen.append((study.prompts, study.pieces and study.pieces("The king")))

    monkeypatch.setattr(battery, "STAGES", (Looking("top_k", 1),))
    verify(lab, prompts=["Once", "Twice"], tokenizer=MODEL)
    verify(lab, tokenizer=lambda text: [text.encode()])
    assert seen[0][0] == ("Once", "Twice")
    assert b"".join(seen[0][1]) == b"The king"
    assert len(seen[0][1]) > 1
    assert len(seen[1][0]) >= 8
    assert seen[1][1] == [b"The king"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"endpoint": "http://a..b/"}, "Its host is no name"),
        ({"endpoint": f"http://{'a' * 300}.invalid"}, "Its host is no name"),
        ({"tokenizer": lambda text: 5}, "tokenizer must be a function .* It raised TypeError"),
        ({"tokenizer": lambda text: ["a"]}, r"it returned \['a'\]"),
        ({"tokenizer": lambda text: [1 // 0]}, "It raised ZeroDivisionError for 'a text'"),
        ({"only": ""}, "only must be at least one parameter, got ''. Leave it out"),
        ({"only": []}, "only must be at least one parameter"),
        ({"only": "stop", "quick": True}, "only must be among top_k, top_p, .* got 'stop'"),
    ],
)
def test_what_would_come_too_late_is_said_at_the_beginning(
    given: dict[str, Any], says: str
) -> None:
    def never(body: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("it was asked")

    with pytest.raises(ll.ParameterError, match=says):
        ll.verify(**({"endpoint": never} | given))


def test_the_estimate_is_of_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    whole = battery.estimate(None, 800)
    quick = battery.estimate(battery.keys_of((), True), 800)
    one = battery.estimate(battery.keys_of(["stop"], False), 800)
    assert 450 < whole[0] < 600  # 572 is the median of the main engines, results/verification.md
    assert 60 < quick[0] < 170
    assert one[0] < 25
    assert whole[1] == 18 * whole[0]
    assert battery.estimate(None, 10)[0] == 10
    assert battery.estimate(None, 10)[2] < whole[2] / 10


@pytest.mark.parametrize("only", ["seed,stop,n,max_tokens", "top_k", "tools,response_format"])
def test_the_estimate_is_not_off_by_more_than_two(
    only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    if "tools" in only:
        pytest.importorskip("llguidance")
    requests, read, written = battery.estimate(battery.keys_of(only.split(","), False), 800)
    with Background(MODEL, engine="vllm") as server:
        spent = verify(server.url, only=only).spending
    assert requests / 2 <= spent.requests <= 2 * requests
    assert read / 2 <= spent.prompt_tokens <= 2 * read
    assert written / 2 <= spent.completion_tokens <= 2 * written


def test_stages_are_functions_of_their_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    homes = {stage.home for stage in battery.STAGES}
    there = [
        getattr(import_module(f"logitlab.verification.{module}"), name)
        for module, name in (home.split(".") for home in sorted(homes))
        if find_spec(f"logitlab.verification.{module}")
    ]
    assert all(callable(each) for each in there)
    assert len(there) >= 14
