"""What is planted in simulated providers is there: held against equations in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pytest
from scipy import stats

from verification.population import DIALECTS, FAULTY, NOISES, providers
from verification.providers import PROBES, Provider, lacks, truth
from verification.subject import PROMPTS, SIZE, subject

pytestmark = pytest.mark.slow

PROMPT = PROMPTS[3]  # a tale's first words: flat, and no half characters
NEUTRAL = {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0}
FALSE_ALARM = 1e-4  # of each test of draws; seeds are fixed


def body(prompt: str = PROMPT, **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 1, **keys}


def answered(provider: Provider, **keys: Any) -> dict[str, Any]:
    status, answer = provider(body(**keys))
    assert status == 200, answer
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def row() -> Any:
    return subject().first(tuple(subject().encode(PROMPT))).astype(float)


def softmax(logits: Any) -> Any:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def cut(probs: Any, key: str, value: float) -> Any:
    """Return what a truncation leaves, by its equation."""
    order = np.argsort(-probs, kind="stable")
    keep = np.ones(len(probs), bool)
    if key == "top_k" and value > 0:
        keep[order[int(value) :]] = False
    if key == "top_p":
        keep[order[1:]] = (np.cumsum(probs[order]) < value)[:-1]
    if key == "min_p":
        keep = probs >= value * probs.max()
    if key == "top_a":
        keep = probs >= value * probs.max() ** 2
    return np.where(keep, probs, 0) / probs[keep].sum()


def expected(key: str, value: float) -> Any:
    return softmax(row() / value) if key == "temperature" else cut(softmax(row()), key, value)


def draws(provider: Provider, keys: dict[str, Any], number: int = 600) -> dict[bytes, int]:
    counts: dict[bytes, int] = {}
    for _ in range(number // 50):
        for text in texts(answered(provider, n=50, **keys)):
            counts[text.encode()] = counts.get(text.encode(), 0) + 1
    return counts


def agree(counts: dict[bytes, int], probs: Any) -> float:
    """Return how likely draws are to be as far off, all that are expected less than 5 lumped."""
    number = sum(counts.values())
    by_text: dict[bytes, float] = {}
    for token, p in enumerate(probs):
        piece = subject().vocabulary[token].decode("utf-8", "replace").encode()
        by_text[piece] = by_text.get(piece, 0.0) + float(p)
    assert all(by_text.get(text, 0) > 0 for text in counts if text)
    usual = [text for text, p in by_text.items() if p * number >= 5 and text]
    seen = np.array([*(counts.get(text, 0) for text in usual), 0.0])
    hoped = np.array([*(by_text[text] * number for text in usual), 0.0])
    seen[-1], hoped[-1] = number - seen.sum(), number - hoped.sum()
    if hoped[-1] < 1e-9:
        assert seen[-1] == 0
        seen, hoped = seen[:-1], hoped[:-1]
    return float(stats.chisquare(seen, hoped * seen.sum() / hoped.sum()).pvalue)


@pytest.mark.parametrize(
    ("key", "fault", "sent", "used"),
    [
        ("temperature", "", 0.5, 0.5),
        ("temperature", "ignored", 0.3, 1.0),
        ("temperature", ("clamped", 0.0, 0.73), 1.5, 0.73),
        ("temperature", ("scaled", 2.0), 0.4, 0.8),
        ("top_p", "", 0.37, 0.37),
        ("top_p", ("clamped", 0.61, 1.0), 0.1, 0.61),
        ("top_k", "ignored", 2, 0),
        ("top_k", ("clamped", -float("inf"), 7), 40, 7),
        ("top_k", ("clamped", 3, float("inf")), 0, 0),
        ("min_p", ("clamped", 0.0, 0.17), 0.9, 0.17),
        ("top_a", "", 0.8, 0.8),
    ],
)
def test_draws_are_those_of_the_value_that_is_used(
    key: str, fault: Any, sent: float, used: float
) -> None:
    provider = Provider("openrouter", {key: fault} if fault else {}, seed=3)
    assert provider.used(key, sent) == pytest.approx(used)
    counts = draws(provider, {key: sent})
    assert agree(counts, expected(key, used)) > FALSE_ALARM
    if used != sent:  # and the test would see it
        far = {text for text in counts if text} if key != "temperature" else set()
        probs = expected(key, sent)
        likely = {subject().vocabulary[int(t)] for t in np.flatnonzero(probs)}
        assert far - likely or sent == 0 or not far or agree(counts, probs) < FALSE_ALARM


def test_defaults_act_where_a_key_is_ignored() -> None:
    provider = Provider("vllm", {"top_k": "ignored"}, defaults={"top_k": 3})
    assert provider.defaults == {"top_k": 3}
    assert provider.used("top_k", 40) == 3
    assert agree(draws(provider, {"top_k": 40}), cut(softmax(row()), "top_k", 3)) > FALSE_ALARM


def test_greedy_is_greedy() -> None:
    best = subject().vocabulary[int(row().argmax())].decode()
    provider = Provider("openrouter", greedy=True)
    assert set(texts(answered(provider, n=20, temperature=1.5))) == {best}
    assert truth(provider, "temperature").verdict == "ignored"


@pytest.mark.parametrize("engine", DIALECTS)
def test_what_is_used_acts_as_if_it_were_sent(engine: str) -> None:
    """The law of all faults: the report of a faulty provider is that of a sound one."""
    seen = 0
    for provider in islice(providers(30, seed=9), DIALECTS.index(engine), None, 10):
        left_out = {"max_tokens", "seed"}
        faults = {
            key: fault
            for key, fault in provider.faults.items()
            if key not in left_out and fault[0] != "scope"
        }
        faulty = Provider(engine, faults, logprobs="processed", top=11)
        sound = Provider(engine, logprobs="processed", top=11)
        for key, values in VALUES.items():
            # mlx-lm's own temperature is 0.
            warm = {} if "temperature" in faults or key == "temperature" else {"temperature": 0.9}
            for value in values:
                status, told = faulty(reporting(**warm, **{key: value}))
                used = faulty.used(key, value)
                if used == "refused":
                    assert status == 400
                    continue
                sent = {**warm, key: used}
                if truth(faulty, key).verdict == "ignored":
                    sent.pop(key)
                again = sound(reporting(**sent))[1]
                assert told["choices"] == again["choices"], (key, value, used, faults)
                seen += 1
    assert seen > 20


def reporting(**keys: Any) -> dict[str, Any]:
    return body(**keys, seed=1, logprobs=True, top_logprobs=11) | {"max_tokens": 2}


VALUES: dict[str, tuple[float, ...]] = {
    "temperature": (0.4, 1.3), "top_p": (0.2, 0.99), "top_k": (2, 50), "min_p": (0.01, 0.5),
    "top_a": (0.01, 0.9), "frequency_penalty": (0.2, 2.0), "presence_penalty": (-0.2, 2.0),
    "repetition_penalty": (1.02, 1.9),
}  # fmt: skip


@pytest.mark.parametrize(("scope", "seen"), [("output", False), ("prompt and output", True)])
@pytest.mark.parametrize("key", ["presence_penalty", "repetition_penalty", "frequency_penalty"])
@pytest.mark.parametrize("engine", ["openrouter", "vllm", "llama_cpp"])
def test_scopes(engine: str, key: str, scope: str, seen: bool) -> None:
    if lacks(Provider(engine).dialect, key):
        return
    provider = Provider(engine, {key: ("scope", scope)}, logprobs="processed")
    assert truth(provider, key).scope == scope
    prompt = "the the the the the the the"  # which is recorded
    one, two = (
        answered(provider, prompt=prompt, logprobs=True, top_logprobs=20, **NEUTRAL, **more)
        for more in ({}, {key: 1.8})
    )
    reports = [_report(answer) for answer in (one, two)]
    assert (reports[0] != reports[1]) == seen
    # The output always counts.
    asked = {"logprobs": True, "top_logprobs": 20, "seed": 1, "max_tokens": 9, **NEUTRAL}
    one, two = answered(provider, **asked), answered(provider, **asked, **{key: 1.8})
    assert one["choices"] != two["choices"]


def _report(answer: dict[str, Any]) -> list[tuple[str, float]]:
    [entry] = answer["choices"][0]["logprobs"]["content"]
    return [(top["token"], top["logprob"]) for top in entry["top_logprobs"]]


def test_a_penalty_of_the_prompt_by_its_equation() -> None:
    provider = Provider("openrouter", logprobs="processed")
    prompt = "the the the the the the the"
    asked = {"logprobs": True, "top_logprobs": 20, "presence_penalty": 1.5}
    told = dict(_report(answered(provider, prompt=prompt, **asked)))
    ids = subject().encode(prompt)
    logits = subject().first(tuple(ids)).astype(float)
    logits[list(set(ids))] -= 1.5
    probs = softmax(logits)
    for token in np.argsort(-probs)[:20]:
        piece = subject().vocabulary[int(token)].decode("utf-8", "replace")
        assert told[piece] == pytest.approx(np.log(probs[token]), abs=1e-5)


@pytest.mark.parametrize("kind", ["raw", "tempered", "processed"])
def test_reports(kind: str) -> None:
    provider = Provider("openrouter", logprobs=kind)
    asked = {"temperature": 0.5, "top_k": 4, "logprobs": True, "top_logprobs": 5}
    told = dict(_report(answered(provider, **asked)))
    logits = row() / (1 if kind == "raw" else 0.5)
    probs = softmax(logits)
    if kind == "processed":
        probs = cut(probs, "top_k", 4)
    best = np.argsort(-probs)[: 4 if kind == "processed" else 5]
    for token in best:
        piece = subject().vocabulary[int(token)].decode()
        assert told[piece] == pytest.approx(np.log(probs[token]), abs=1e-5)


def test_without_reports() -> None:
    for provider in (Provider(logprobs="none"), Provider(faults={"logprobs": "ignored"})):
        answer = answered(provider, logprobs=True, top_logprobs=5)
        assert answer["choices"][0]["logprobs"] is None
        assert truth(provider, "logprobs").verdict == "ignored"
    status, answer = Provider(top=5)(body(logprobs=True, top_logprobs=6))
    assert (status, answer["error"]["message"]) == (400, "top_logprobs must be at most 5, got 6.")


def test_noise_is_as_large_as_it_says() -> None:
    provider = Provider("vllm", noise=0.03, seed=5)
    gaps = []
    for _ in range(300):
        told = dict(_report(answered(provider, logprobs=True, top_logprobs=20)))
        gaps.append(told[" king"] - told[" brave"])  # no constant is left in a difference
    spread = np.var(gaps, ddof=1) / (2 * 0.03**2) * 299
    assert FALSE_ALARM < stats.chi2(299).cdf(spread) < 1 - FALSE_ALARM


def test_foreign_answers_are_as_many_as_it_says() -> None:
    provider = Provider("openrouter", foreign=0.2, seed=6)
    best = subject().vocabulary[int(row().argmax())].decode()
    far = sum(texts(answered(provider, top_k=1)) != [best] for _ in range(500))
    others = 1 - softmax(row()).max(), 1 - softmax(np.sort(row())[-20:] / 2).max()
    share = 0.2 * np.mean(others)
    assert stats.binomtest(far, 500, share).pvalue > FALSE_ALARM


def test_refusals() -> None:
    provider = Provider(faults={"top_p": "refused", "temperature": ("refused", 0, 1)})
    for asked, words in (
        ({"top_p": 1}, "Unsupported parameter: 'top_p'."),
        ({"temperature": 1.2}, "Unsupported value: 'temperature'."),
    ):
        status, answer = provider(body(**asked))
        assert (status, answer["error"]["message"]) == (400, words)
    assert provider(body(temperature=0.8))[0] == 200
    assert truth(provider, "top_p").verdict == "refused" == provider.used("top_p", 0.5)
    assert truth(provider, "temperature")[:3] == ("honoured", 0, 1)


def test_seeds() -> None:
    sound, deaf = Provider(), Provider(faults={"seed": "ignored"})
    asked = {"seed": 7, "max_tokens": 12}
    assert texts(answered(sound, **asked)) == texts(answered(sound, **asked))
    assert texts(answered(deaf, **asked)) != texts(answered(deaf, **asked))
    assert truth(deaf, "seed").verdict == "ignored"


def test_seeds_that_do_not_repeat_beside_others() -> None:
    provider = Provider(faults={"seed": "not in batches"})
    asked = {"seed": 7, "max_tokens": 12}
    alone = texts(answered(provider, **asked))
    assert alone == texts(answered(provider, **asked))
    with ThreadPoolExecutor(6) as pool:
        beside = list(pool.map(lambda _: texts(answered(provider, **asked)), range(6)))
    assert sum(text != alone for text in beside) >= 4
    assert truth(provider, "seed") == ("honoured", None, None, "", False, False)
    sound = Provider()
    with ThreadPoolExecutor(6) as pool:
        beside = list(pool.map(lambda _: texts(answered(sound, **asked)), range(6)))
    assert all(text == alone for text in beside)


def test_limits_and_ends() -> None:
    def length(answer: dict[str, Any]) -> int:
        return int(answer["usage"]["completion_tokens"])

    assert length(answered(Provider(), max_tokens=5)) == 5
    assert length(answered(Provider(faults={"max_tokens": "ignored"}), max_tokens=2)) > 2
    short = Provider(faults={"max_tokens": ("clamped", 1, 3)})
    assert length(answered(short, max_tokens=9)) == 3
    renamed = Provider(faults={"max_tokens": ("renamed", "max_completion_tokens")})
    status, answer = renamed(body())
    assert status == 400
    assert answer["error"]["message"] == (
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    )
    told = {"messages": body()["messages"], "max_completion_tokens": 4}
    assert length(renamed(told)[1]) == 4
    assert truth(renamed, "max_tokens").verdict == "refused"
    whole = texts(answered(Provider(), max_tokens=20, seed=1))[0]
    stop = whole[10:13]
    ended = answered(Provider(), max_tokens=20, seed=1, stop=[stop])
    assert texts(ended) == [whole[: whole.index(stop)]]
    assert ended["choices"][0]["finish_reason"] == "stop"
    deaf = Provider(faults={"stop": "ignored", "n": "ignored"})
    assert texts(answered(deaf, max_tokens=20, seed=1, stop=[stop], n=3)) == [whole]


def test_structure() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"const": 1}},
        "required": ["a"],
    }
    schema["additionalProperties"] = False
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = {"response_format": form, "max_tokens": 30}
    assert '"a"' in texts(answered(Provider(), **asked))[0]
    assert "{" not in texts(answered(Provider(faults={"response_format": "ignored"}), **asked))[0]
    weak = Provider(faults={"response_format": "weakened"}, seed=2)
    assert texts(answered(weak, **asked))[0].lstrip()[0] == "{"
    assert truth(weak, "response_format").verdict == "not_honoured"
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    calls = {"tools": [tool], "tool_choice": "required", "max_tokens": 60}
    assert answered(Provider(), **calls)["choices"][0]["message"]["tool_calls"]
    for key in ("tools", "tool_choice"):
        message = answered(Provider(faults={key: "ignored"}), **calls)["choices"][0]["message"]
        assert not message.get("tool_calls")


def test_a_bias_and_its_clamp() -> None:
    token = subject().encode(" wolf")[0]
    piece = subject().vocabulary[token].decode()
    assert set(texts(answered(Provider(), n=20, logit_bias={str(token): 100}))) == {piece}
    deaf = Provider(faults={"logit_bias": "ignored"})
    assert set(texts(answered(deaf, n=20, logit_bias={str(token): 100}))) != {piece}
    weak = Provider(faults={"logit_bias": ("clamped", -1, 1)}, logprobs="processed")
    assert set(texts(answered(weak, n=20, logit_bias={str(token): 100}))) != {piece}


@pytest.mark.parametrize(
    ("engine", "key", "verdict"),
    [
        ("vllm", "top_a", "ignored"),
        ("llama_cpp", "repetition_penalty", "ignored"),
        ("transformers", "logit_bias", "ignored"),
        ("transformers_serve", "top_k", "refused"),
        ("transformers_serve", "logprobs", "ignored"),
        ("koboldcpp", "top_a", "honoured"),
        ("mlx_lm_server", "repetition_penalty", "honoured"),
        ("llama_cpp", "xtc_threshold", "honoured"),
        ("vllm", "dry_multiplier", "ignored"),
    ],
)
def test_the_lacks_of_a_dialect_come_first(engine: str, key: str, verdict: str) -> None:
    assert truth(Provider(engine), key).verdict == verdict
    clamped = Provider(engine, {key: ("clamped", 0, 1)})
    expects = "clamped" if verdict == "honoured" else verdict
    assert truth(clamped, key).verdict == expects


def test_a_name_of_the_engines_own() -> None:
    provider = Provider("llama_cpp", logprobs="processed")
    prompt = "the the the the the the the"
    asked = {"logprobs": True, "top_logprobs": 20, **NEUTRAL}
    plain = _report(answered(provider, prompt=prompt, **asked))
    assert plain == _report(answered(provider, prompt=prompt, repetition_penalty=1.9, **asked))
    assert plain != _report(answered(provider, prompt=prompt, repeat_penalty=1.9, **asked))
    faulty = Provider("llama_cpp", {"repetition_penalty": "ignored"}, logprobs="processed")
    assert plain == _report(answered(faulty, prompt=prompt, repeat_penalty=1.9, **asked))
    renamed = Provider("openrouter", {"top_k": ("renamed", "k")})
    assert truth(renamed, "top_k").verdict == "ignored"
    best = subject().vocabulary[int(row().argmax())].decode()
    assert set(texts(answered(renamed, n=30, k=1))) == {best}
    assert set(texts(answered(renamed, n=30, top_k=1))) != {best}


def test_verdicts_that_are_right() -> None:
    clamped = truth(Provider(faults={"top_p": ("clamped", 0.3, 1)}), "top_p")
    verdicts = ("clamped", "not_honoured", "honoured", "ignored", "cannot_tell")
    assert [clamped.is_right(v) for v in verdicts] == [True, True, False, False, None]
    kobold = truth(Provider("koboldcpp"), "frequency_penalty")
    assert kobold.loosely
    assert [kobold.is_right(v) for v in verdicts] == [True, True, True, False, None]


def test_caches_and_busy_ones() -> None:
    cache = Provider(caches=True)
    assert answered(cache, max_tokens=9) == answered(cache, max_tokens=9)
    busy = Provider(busy=0.5, seed=1)
    statuses = [busy(body())[0] for _ in range(60)]
    assert {*statuses} == {200, 429}
    assert stats.binomtest(statuses.count(429), 60, 0.5).pvalue > FALSE_ALARM
    assert busy.requests == statuses.count(200)


def test_plain_completions_and_other_prompts() -> None:
    status, answer = Provider()({"prompt": "The king", "max_tokens": 4, "logprobs": 3})
    assert status == 200
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == 4
    # No two prompts are alike, and none of them is certain.
    rows = [subject().first(tuple(subject().encode(p))) for p in ("Name a city.", "Write a word.")]
    assert np.abs(softmax(rows[0]) - softmax(rows[1])).sum() > 0.1
    for prompt in ("Name a city.", "Write a word.", "Name an animal."):
        p = softmax(subject().first(tuple(subject().encode(prompt))).astype(float))
        assert -(p * np.log(p)).sum() > 0.5
        assert len(p) == SIZE


def test_nothing_tells_what_a_provider_did() -> None:
    answer = answered(Provider("llama_cpp"), response_format={"type": "json_object"})
    assert "logitlab" not in repr(answer)


def test_the_population() -> None:
    def told(*args: Any, **keys: Any) -> list[str]:
        return [repr(provider) for provider in providers(*args, **keys)]

    assert told(30, 4) == told(30, 4)
    assert told(30, 4) == told(40, 4)[:30]
    assert not {*told(40, 4)} & {*told(40, 4, held_out=True)}
    many = list(providers(200))
    assert {provider.dialect.name for provider in many} == {*DIALECTS}
    assert {provider.noise for provider in many} == {*NOISES}
    assert {provider.foreign for provider in many} == {0.0, 0.01}
    assert {p.logprobs for p in many} == {"raw", "penalised", "tempered", "processed", "none"}
    assert all(provider.logprobs == "none" for provider in providers(20, logprobs=False))
    for key in FAULTY:
        verdicts = [truth(provider, key).verdict for provider in many]
        kinds = ("honoured", "ignored", "refused") + (("clamped",) if FAULTY[key][2] else ())
        assert all(verdicts.count(kind) >= 5 for kind in kinds), key
    assert {*PROBES} >= {*FAULTY} - {"max_tokens", "seed", "stop", "n"}
