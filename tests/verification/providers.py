"""Simulated providers: our own wire in some engine's dialect, with faults planted before it.

>>> ask = Provider("vllm", faults={"top_p": "ignored", "temperature": ("clamped", 0, 1.2)})
>>> status, answer = ask({"messages": [{"role": "user", "content": "Write a word."}], "top_p": 0.1})
>>> status, truth(ask, "top_p").verdict, truth(ask, "temperature")[:3]
(200, 'ignored', ('clamped', 0, 1.2))
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from typing import Any, NamedTuple

import numpy as np
from logitlab import engines
from logitlab.engines.engine import Engine
from logitlab.engines.rules import RefusalError, Rename
from logitlab.request.params import NEUTRAL, PARAMETERS
from logitlab.wire.chat import chat
from logitlab.wire.completions import complete

from verification.subject import SIZE, Noisy, subject

__all__ = ["PROBES", "Provider", "Truth", "is_renamed", "lacks", "listing", "truth"]

# What shows whether a parameter acts, and what has to stand beside it.
PROBES: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.5}, "top_p": {"top_p": 0.5}, "top_k": {"top_k": 3},
    "min_p": {"min_p": 0.2}, "top_a": {"top_a": 0.3},
    "frequency_penalty": {"frequency_penalty": 1.5}, "presence_penalty": {"presence_penalty": 1.5},
    "repetition_penalty": {"repetition_penalty": 1.5}, "logit_bias": {"logit_bias": {"5": 3.0}},
    "typical_p": {"typical_p": 0.5}, "top_n_sigma": {"top_n_sigma": 1.0},
    "xtc_probability": {"xtc_probability": 1.0, "xtc_threshold": 0.1},
    "xtc_threshold": {"xtc_probability": 1.0, "xtc_threshold": 0.04},
    "dry_multiplier": {"dry_multiplier": 1.0}, "dynatemp_range": {"dynatemp_range": 0.5},
    "epsilon_cutoff": {"epsilon_cutoff": 0.02}, "eta_cutoff": {"eta_cutoff": 0.02},
    "tfs": {"tfs": 0.5}, "smoothing_factor": {"smoothing_factor": 0.3}, "skew": {"skew": 0.5},
    "top_h": {"top_h": 0.1}, "p_less": {"p_less": True},
    "mirostat": {"mirostat": 2}, "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
}  # fmt: skip
_PENALTIES = {
    "frequency_penalty": ("FrequencyPenalty", "AdditivePenalty"),
    "presence_penalty": ("PresencePenalty", "AdditivePenalty"),
    "repetition_penalty": ("RepetitionPenalty",),
}
_SCOPES = {"all": "prompt and output", "output": "output", "lagged": "output"}
_MOST_TOKENS = 16  # of an answer that nobody limits
_NEVER_FAR = 20, 2.0  # top_k and temperature of half of the foreign answers
_SHAPES = frozenset(key for key, each in PARAMETERS.items() if each.role == "distribution")


class Truth(NamedTuple):
    """What a verifier should say of a parameter.

    Attributes
    ----------
    verdict : {"honoured", "ignored", "clamped", "refused", "not_honoured"}
        The last where it acts, and otherwise than it says.
    low, high : float or None
        The bounds of a clamp, and of the values that are not refused.
    scope : {"", "output", "prompt and output"}
        What a penalty counts.
    beside : bool
        False of a seed that repeats alone and not beside other requests.
    loosely : bool
        Whether the dialect has it in a way of its own, as KoboldCpp's frequency penalty, which
        counts no further than one: then whatever is not "ignored" or "refused" is right.
    """

    verdict: str
    low: float | None = None
    high: float | None = None
    scope: str = ""
    beside: bool = True
    loosely: bool = False

    def is_right(self, verdict: str) -> bool | None:
        """Whether a verdict agrees; None where it decides nothing."""
        if verdict == "cannot_tell":
            return None
        if self.loosely:
            return verdict not in ("ignored", "refused")
        # That it does not do as it says is the weaker form of both.
        is_weaker = verdict == "not_honoured" and self.verdict in ("ignored", "clamped")
        return verdict == self.verdict or is_weaker


class Provider:
    """An endpoint: a function from the body of a request to its status and its answer.

    Parameters
    ----------
    engine : str
        The dialect.
    faults : mapping
        By key: "ignored"; "refused"; ("refused", low, high) for values outside; ("clamped", low,
        high), where a value that means off stays so; ("scaled", factor); ("renamed", name) where
        it is read under that name alone, and max_tokens refused; of penalties ("scope", "output")
        and ("scope", "prompt and output"); of seed "not in batches"; of response_format
        "weakened", which takes a schema for any JSON.
    noise : float
        The standard deviation of each logit, fresh for every forward pass.
    logprobs : {"raw", "penalised", "tempered", "processed", "none"}, optional
        By default as the dialect reports.
    foreign : float
        The share of answers that come from a back-end which reads no parameter of the
        distribution: half of them neutral, half at temperature 2 among the 20 best.
    top : int
        The largest ``top_logprobs``.
    seed : int
        Of all that is random.
    defaults : mapping
        What the deployment uses for keys that do not arrive.
    greedy : bool
        Whether temperature is always 0.
    caches : bool
        Whether the same body gets the same answer.
    busy : float
        The share of requests answered 429.
    listed : {"best", "added", "replaced"}
        Whether the token that was drawn is put beside the likeliest that are reported, where it is
        none of them: at their end, or in the place of the last, as vLLM's chats do.

    Attributes
    ----------
    requests, tokens : int
        How many have been answered, and drawn.
    """

    def __init__(
        self,
        engine: str = "vllm",
        faults: Mapping[str, Any] | None = None,
        noise: float = 0.0,
        logprobs: str | None = None,
        foreign: float = 0.0,
        top: int = 20,
        seed: int = 0,
        defaults: Mapping[str, Any] | None = None,
        greedy: bool = False,
        caches: bool = False,
        busy: float = 0.0,
        listed: str = "best",
    ) -> None:
        self.listed = listed
        self.dialect, self.faults = engines.get(engine), dict(faults or {})
        self.noise, self.foreign, self.top = noise, foreign, top
        self.caches, self.busy = caches, busy
        self.deployed = dict(defaults or {})
        if greedy:
            self.faults["temperature"] = "ignored"
            self.deployed["temperature"] = 0.0
        if self.faults.get("logprobs") == "ignored":
            logprobs = "none"
            del self.faults["logprobs"]
        kind: Any = logprobs or self.dialect.logprobs
        self.logprobs: str = "raw" if kind == "undocumented" else kind
        self.engine = _faulty_engine(self.dialect, self.logprobs, self.faults)
        self.model: Any = Noisy(subject(), noise, seed + 1) if noise else subject()
        self.requests = self.tokens = 0
        self._rng = np.random.default_rng(seed)
        self._lock, self._inside, self._cached = threading.Lock(), 0, dict[str, Any]()

    def __call__(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a request of ``/v1/chat/completions``, or with ``prompt`` of ``/completions``."""
        with self._counted() as are_others:
            if self.busy and self._uniform() < self.busy:
                return 429, {"error": {"message": "Too many requests.", "code": 429}}
            known = json.dumps(body, sort_keys=True) if self.caches else ""
            if known in self._cached:
                return 200, self._cached[known]
            try:
                status, answer = self._answer(dict(body), are_others)
            except _RefusedError as error:
                return 400, {"error": {"message": str(error), "code": 400}}
            if self.caches and status == 200:
                self._cached[known] = answer
            return status, answer

    @property
    def defaults(self) -> dict[str, Any]:
        """What acts where a request says nothing, by key, if that is not neutral."""
        values = self.dialect.translate(self.deployed).values
        return {key: values[key] for key in PROBES if values.get(key) != NEUTRAL[key]}

    def used(self, key: str, value: Any) -> Any:
        """Return the value that acts where one is sent; "refused" where it is refused.

        Where it is ignored that is the default.
        """
        try:
            # Temperature 0, as some have it, would leave out what draws.
            is_warm = key == "temperature" or "temperature" in self.faults
            tempered = {} if is_warm else {"temperature": 0.9}
            arrived = self._arrived({**tempered, **PROBES.get(key, {}), key: value})
            if lacks(self.dialect, key) == "ignored":
                arrived.pop(key, None)
            elif _counting(self, key)[1]:  # it goes by another name there
                return arrived.get(key, NEUTRAL.get(key))
            return self.dialect.translate(arrived, vocabulary_size=SIZE).values[key]
        except (_RefusedError, RefusalError):
            return "refused"

    def __repr__(self) -> str:
        kept = {"noise": self.noise, "logprobs": self.logprobs, "foreign": self.foreign}
        kept |= {"listed": self.listed} if self.listed != "best" else {}
        words = ", ".join(f"{key}={value!r}" for key, value in kept.items() if value)
        return f"Provider({self.dialect.name!r}, {self.faults!r}, {words})"

    def _answer(self, body: dict[str, Any], are_others: bool) -> tuple[int, dict[str, Any]]:
        sent = self._arrived(body)
        # Nothing is drawn of the system's luck, so that a population is the same every time.
        repeats = "seed" in sent and not (are_others and self.faults.get("seed") in _IN_BATCHES)
        if not repeats:
            sent["seed"] = int(self._uniform() * 2**31)
        usual = sent.get("max_tokens", _MOST_TOKENS)
        sent["max_tokens"] = sent.pop("max_completion_tokens", usual)
        engine: Any = self.engine
        if self.foreign and self._uniform() < self.foreign:
            sent = {key: value for key, value in sent.items() if key not in _SHAPES}
            if self._uniform() < 0.5:
                sent |= dict(zip(("top_k", "temperature"), _NEVER_FAR, strict=True))
            engine = "openrouter"
        write = chat if "messages" in sent else complete
        answer = write(self.model, sent, engine=engine)
        if "error" in answer:
            return answer["error"]["code"], answer
        with self._lock:
            self.requests += 1
            self.tokens += answer["usage"]["completion_tokens"]
            answer["id"] = f"gen-{self.requests}"
        # A server does not tell what it did.
        del answer["logitlab"]
        for choice in answer["choices"]:
            choice.pop("logitlab", None)
        answer["system_fingerprint"] = "simulated"
        for choice in answer["choices"]:
            for entry in (choice.get("logprobs") or {}).get("content") or ():
                entry["top_logprobs"] = listing(entry, self.listed)
        return 200, answer

    def _arrived(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a body reaches the engine."""
        names = self.dialect.aliases
        sent = {}
        for name, value in body.items():
            key = names.get(name, name)
            if value is None or (name == key and is_renamed(self.dialect, key)):
                continue
            fault = self.faults.get(key, "")
            kind, *bounds = fault if isinstance(fault, tuple) else (fault,)
            if kind == "ignored" or (kind == "renamed" and key != "max_tokens"):
                continue
            if kind == "refused" and not (bounds and bounds[0] <= value <= bounds[1]):
                raise _RefusedError(f"Unsupported {'value' if bounds else 'parameter'}: '{name}'.")
            if kind == "renamed":
                words = f"Unsupported parameter: '{key}'. Use '{bounds[0]}' instead."
                raise _RefusedError(words)
            act: Callable[..., Any] = _FAULTS.get(kind, _as_it_is)
            sent[name] = act(key, value, *bounds)
        for key, fault in self.faults.items():
            if fault[0] == "renamed" and fault[1] in body and key != "max_tokens":
                sent[key] = body[fault[1]]
                sent.pop(fault[1], None)
        if "tools" not in sent:
            sent = {
                k: v for k, v in sent.items() if k not in ("tool_choice", "parallel_tool_calls")
            }
        tops = sent.get("top_logprobs") or 0
        if tops > self.top:
            raise _RefusedError(f"top_logprobs must be at most {self.top}, got {tops}.")
        return {**{key: x for key, x in self.deployed.items() if key not in sent}, **sent}

    def _uniform(self) -> float:
        with self._lock:
            return float(self._rng.random())

    @contextmanager
    def _counted(self) -> Iterator[bool]:
        """Count the requests inside, and tell whether there are others."""
        with self._lock:
            self._inside += 1
        try:
            if self.faults.get("seed") == "not in batches":
                time.sleep(0.01)  # a batch waits for its requests
            yield self._inside > 1
        finally:
            with self._lock:
                self._inside -= 1


class _RefusedError(Exception):
    """What a provider says of a request that it refuses."""


_IN_BATCHES = ("not in batches",)


def listing(entry: Mapping[str, Any], how: str) -> list[dict[str, Any]]:
    """Return the top list of an entry, with its own token as `Provider` says of ``listed``."""
    tops: list[dict[str, Any]] = list(entry["top_logprobs"])
    if how == "best" or not tops or any(each["bytes"] == entry["bytes"] for each in tops):
        return tops
    own = {key: value for key, value in entry.items() if key != "top_logprobs"}
    return [*tops, own] if how == "added" else [own, *tops[:-1]]


def _as_it_is(key: str, value: Any, *bounds: Any) -> Any:
    return value


def _clamped(key: str, value: Any, low: float, high: float) -> Any:
    if isinstance(value, Mapping):
        return {token: min(max(amount, low), high) for token, amount in value.items()}
    if key == "top_k" and value <= 0:  # off
        return value
    return type(value)(min(max(value, low), high))


def _scaled(key: str, value: Any, factor: float) -> Any:
    return value * factor


def _weakened(key: str, value: Any) -> Any:
    return {"type": "json_object"} if value.get("type") == "json_schema" else value


_FAULTS: dict[str, Callable[..., Any]] = {
    "clamped": _clamped,
    "scaled": _scaled,
    "weakened": _weakened,
}


def is_renamed(engine: Engine, key: str) -> bool:
    """Whether the engine reads a parameter under a name of its own alone, as llama.cpp does."""
    return any(isinstance(rule, Rename) for rule in engine.rules.get(key, ()))


def _faulty_engine(engine: Engine, logprobs: Any, faults: Mapping[str, Any]) -> Engine:
    """Return an engine that reports, and counts, otherwise."""
    scopes = {
        name: next(scope for scope, words in _SCOPES.items() if words == fault[1])
        for key, fault in faults.items()
        if fault[0] == "scope"
        for name in _PENALTIES[key]
    }
    if not scopes and logprobs == engine.logprobs:
        return engine
    build = engine.build

    @wraps(build)
    def rescoped(values: Any) -> Any:
        chain = build(values)
        steps = (
            replace(step, scope=scopes[type(step).__name__])  # type: ignore[type-var]
            if type(step).__name__ in scopes
            else step
            for step in chain
        )
        return chain.of(*steps)

    return replace(engine, build=rescoped if scopes else build, logprobs=logprobs)


@cache
def lacks(engine: Engine, key: str) -> str:
    """Return "ignored" or "refused" where a dialect does not take a parameter, and else ""."""
    if is_renamed(engine, key) or (key == "n" and engine.dialect.has_one_answer):
        return "ignored"
    if key not in PROBES:
        return ""
    base = {other: value for other, value in PROBES[key].items() if other != key}
    # Temperature 0, as some have it, would hide what the others do.
    tempered = {} if key == "temperature" else {"temperature": 0.9}
    try:
        chain = engine({**tempered, **PROBES[key]}, vocabulary_size=SIZE)
    except RefusalError:
        return "refused"
    without = engine({**tempered, **base}, vocabulary_size=SIZE)
    return "ignored" if repr(chain) == repr(without) else ""


def truth(provider: Provider, key: str) -> Truth:
    """Return what a verifier should say of a parameter at a provider.

    The lacks of the dialect come first; then the fault that was planted.
    """
    fault = provider.faults.get(key, "")
    kind, *bounds = fault if isinstance(fault, tuple) else (fault,)
    if is_renamed(provider.dialect, key):
        return Truth("ignored")  # nobody looks at it
    if kind == "refused" and not bounds:
        return Truth("refused")
    if lacking := lacks(provider.dialect, key):
        return Truth(lacking)
    if key == "logprobs" and provider.logprobs == "none":
        return Truth("ignored")
    if kind in ("ignored", "renamed"):
        return Truth("refused" if kind == "renamed" and key == "max_tokens" else "ignored")
    if kind == "not in batches":
        return Truth("honoured", beside=False)
    if kind in ("scaled", "weakened"):
        return Truth("not_honoured")
    if key == "xtc_threshold" and truth(provider, "xtc_probability").verdict != "honoured":
        return Truth("ignored")  # there is nothing that it would be the threshold of
    scope, loosely = _counting(provider, key)
    verdict = "clamped" if kind == "clamped" else "honoured"
    low, high = bounds if kind in ("clamped", "refused") else (None, None)
    return Truth(verdict, low, high, scope, loosely=loosely)


def _counting(provider: Provider, key: str) -> tuple[str, bool]:
    """Return what a penalty counts, and whether it does so in a way of its own."""
    if key not in _PENALTIES:
        return "", False
    chain = provider.engine({"temperature": 0.9, **PROBES[key]})
    steps: Iterator[Any] = iter(chain)
    for step in steps:
        if type(step).__name__ in _PENALTIES[key] and getattr(step, "amount", "count") == "count":
            return _SCOPES[step.scope], False
    return "", True
