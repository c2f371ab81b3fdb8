"""The first requests: how this endpoint is spoken to, what it takes, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.errors import EndpointError
from logitlab.verification.finding import Finding
from logitlab.verification.study import Study

__all__ = ["NEUTRAL", "handshake"]

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "temperature": (1.0,),
    "top_p": (1.0,),
    "top_k": (0, -1),  # vLLM and SGLang take -1 for all, others 0
    "min_p": (0.0,),
    "top_a": (0.0,),
    "frequency_penalty": (0.0,),
    "presence_penalty": (0.0,),
    "repetition_penalty": (1.0,),
}
"""The values that change nothing, as engines spell them."""

_ACTIVE: Mapping[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "min_p": 0.2,
    "top_a": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "repetition_penalty": 1.2,
}
"""Values that servers take which refuse neutral ones, as Text Generation Inference does: there what
is left out is neutral."""

_PROMPT = "Tell me a first name."  # after which few models are sure
_TOPS = (200, 20, 11, 5, 1)  # llama.cpp gives any number, OpenAI's page 20, mlx-lm's server 11
_LIMITS = ("max_tokens", "max_completion_tokens")
_LEAST = (1, 16)
_HALVES = 4  # answers that may be half a character, or nothing
_VALUES = 3  # of what stands in the place of log-probabilities, by example
_LOOK = 8  # tokens that show whether a model thinks, or says the same again
_NO_THOUGHTS: tuple[dict[str, Any], ...] = (
    {"reasoning": {"enabled": False}},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"reasoning_effort": "none"},
    {"reasoning_effort": "minimal"},
)


def handshake(study: Study) -> None:
    """Find out how to ask: route, limit, thoughts, log-probabilities, neutral values, caches.

    It sets `Study.chat`, ``limit``, ``least``, ``extra``, ``logprobs`` and ``neutral``, and leaves
    a finding for ``logprobs`` and for each key that is refused even with its neutral value.

    Parameters
    ----------
    study : Study
        With ``chat`` False plain completions are asked for from the beginning.

    Raises
    ------
    EndpointError
        For an endpoint that answers no request at all, in its own words.
    """
    prompt = study.prompts[0] if study.prompts and _PROMPT not in study.prompts else _PROMPT
    _route_and_limit(study, prompt)
    if study.chat:
        _thoughts(study, prompt)
    _logprobs(study, prompt)
    _neutral(study, prompt)
    _sameness(study, prompt)


def _route_and_limit(study: Study, prompt: str) -> None:
    """Find a request that is answered: the least that one can ask."""
    first = answer = study.ask(prompt, 1)
    if study.chat and answer.status in (404, 405, 501) and not _names_the_model(answer):
        study.chat = False
        answer = study.ask(prompt, 1)
        if not answer.refused:
            study.notes.append("There are no chat completions here: plain ones were asked for.")
    if answer.refused and answer.status in (400, 422):
        for study.limit, study.least in _limits(answer.words or ""):
            answer = study.ask(prompt, 1)
            if not answer.refused:
                break
        else:
            study.limit, study.least = "max_tokens", 1
    if answer.refused:
        raise EndpointError(_refusal(first))
    if study.limit != "max_tokens":
        study.notes.append(f"The limit of tokens is called {study.limit}.")
    if study.least > 1:
        study.notes.append(f"The server lets one ask for no fewer than {study.least} tokens.")


def _limits(words: str) -> Iterator[tuple[str, int]]:
    """Yield names of the limit with numbers of tokens, the likeliest first."""
    named = [name for name in _LIMITS[1:] if name in words]
    number = re.search(r">= ?(\d{1,3})\b|at least (\d{1,3})\b|minimum\D{0,20}(\d{1,3})\b", words)
    told = int(next(filter(None, number.groups()))) if number else 1
    order = [(name, least) for name in (*named, *_LIMITS) for least in (told, *_LEAST)]
    yield from (pair for pair in dict.fromkeys(order) if pair != ("max_tokens", 1))


def _names_the_model(answer: Answer) -> bool:
    return "model" in (answer.words or "").lower()


def _refusal(answer: Answer) -> str:
    """Return the sentence about an endpoint that answers nothing."""
    words = (answer.words or "").rstrip(".")
    if answer.status == 403:
        hint = "It wants a key, or another one: key='env:NAME', --key-env NAME."
    elif _names_the_model(answer):
        hint = "A model is named by model=, or --model."
    elif answer.status in (404, 405):
        hint = "Is that its base URL?"
    else:
        hint = ""
    end = "" if words.endswith(("?", "!")) else "."
    said = f"The endpoint refuses the simplest request: {answer.status}, {words}{end}"
    return f"{said} {hint}".rstrip()


def _thoughts(study: Study, prompt: str) -> None:
    """Switch the thoughts of a model off, as its server calls that."""
    if not _thinks(study.ask(prompt, _LOOK)):
        return
    before = dict(study.extra)
    for more in _NO_THOUGHTS:
        study.extra = before | more
        answer = study.ask(prompt, _LOOK)
        if not answer.refused and not _thinks(answer):
            study.notes.append(f"The model thinks first: {more} was sent to leave that out.")
            return
    study.extra = before
    study.notes.append(
        "The model thinks before it answers, and no known request leaves that out: its first "
        "tokens are too certain to tell much."
    )


def _thinks(answer: Answer) -> bool:
    """Whether an answer begins with thoughts: in a field of their own, in tags, or hidden."""
    if answer.refused or not answer.choices:
        return False
    message = answer.choices[0].get("message") or {}
    if message.get("reasoning") or message.get("reasoning_content"):
        return True
    if answer.text().lstrip().startswith(("<think", "<|channel|>analysis", "[THINK]")):
        return True
    usage = answer.body.get("usage") or {}
    details = usage.get("completion_tokens_details")
    return isinstance(details, Mapping) and bool(details.get("reasoning_tokens"))


def _logprobs(study: Study, prompt: str) -> None:
    """Ask for as many log-probabilities as the server gives."""
    before, words = study.requests, None
    for asked in _requests_of_logprobs(study.chat):
        study.logprobs = asked
        for _ in range(_HALVES):
            answer = study.ask(prompt, 1)
            tops = [position.top for position in answer.positions() if position.top]
            is_half = answer.text() == "" or "\ufffd" in answer.text()
            if answer.refused or tops or not is_half:
                break  # of half a character, and of an end, some servers report nothing
        if answer.refused:
            words = answer.words
            continue
        if tops:
            detail = f"{max(map(len, tops))} log-probabilities per token"
            found = Finding("honoured", "observed", detail=detail)
        else:
            study.logprobs = {}
            found = _without_numbers(answer)
        break
    else:
        study.logprobs = {}
        found = Finding("refused", "observed", says=words)
    study.findings["logprobs"] = _counted(found, study, before)


def _without_numbers(answer: Answer) -> Finding:
    """Return what an answer reports in the place of log-probabilities."""
    reported = answer.choices[0].get("logprobs") if answer.choices else None
    entries = reported.get("content") if isinstance(reported, Mapping) else None
    tops = [top for entry in entries or () for top in entry.get("top_logprobs") or ()]
    if tops:
        values = dict.fromkeys(_spelt(top.get("logprob")) for top in tops)
        seen = ", ".join(list(values)[:_VALUES]) + (", …" if len(values) > _VALUES else "")
        detail = f"tokens are listed, but with {seen} in the place of numbers"
        return Finding("not_honoured", "observed", detail=detail)
    if entries:
        return Finding("not_honoured", "observed", detail="of the drawn tokens alone")
    return Finding("ignored", "observed", detail="no log-probabilities are reported")


def _spelt(value: Any) -> str:
    return "null" if value is None else f"{value:g}"


def _requests_of_logprobs(is_chat: bool) -> Iterator[dict[str, Any]]:
    for top in _TOPS:
        if not is_chat:
            yield {"logprobs": top}
        if is_chat or top <= _TOPS[2]:  # mlx-lm's plain completions want a boolean, too
            yield {"logprobs": True, "top_logprobs": top}


def _neutral(study: Study, prompt: str) -> None:
    """Find the spelling of the neutral request, and what is refused even so."""
    study.neutral = {key: values[0] for key, values in NEUTRAL.items()}
    if not study.ask(prompt, 1).refused:
        return
    study.neutral = {}
    for key, values in NEUTRAL.items():
        before, refused = study.requests, {}
        for value in values:
            answer = study.ask(prompt, 1, **{key: value})
            if not answer.refused:
                study.neutral[key] = value
                break
            refused[repr(value)] = answer.words or ""
        else:
            is_taken = study.neutral and any(
                not study.ask(prompt, 1, plain=True, **{key: value}).refused for value in values
            )
            if is_taken:
                beside = "refused beside the others, taken alone"
                found = Finding("cannot_tell", "observed", detail=beside, refused_values=refused)
            elif not study.ask(prompt, 1, **{key: _ACTIVE[key]}).refused:
                study.neutral[key] = None
                study.notes.append(f"{key} is refused at its neutral value: it was left out there.")
                continue
            else:
                says = next(reversed(refused.values()))
                found = Finding("refused", "observed", says=says, refused_values=refused)
            study.findings[key] = _counted(found, study, before)


def _sameness(study: Study, prompt: str) -> None:
    """Tell where draws that should differ are the same: greedy servers, and caches."""
    answers = [study.ask(prompt, _LOOK) for _ in range(3)]
    texts = {answer.text() for answer in answers}
    if len(texts) > 1 or any(answer.refused for answer in answers):
        return
    marks = [(answer.body.get("id"), answer.body.get("created")) for answer in answers]
    if marks[0][0] is not None and len(set(marks)) == 1:
        study.is_cached = True
        study.notes.append(
            "The server answers an equal request with the very same answer: a cache. Its draws "
            "are one draw, and nothing is proven by them."
        )
    else:
        study.notes.append(
            "The server gave the same text three times at temperature 1: it is greedy there, or "
            "very sure."
        )


def _counted(found: Finding, study: Study, before: int) -> Finding:
    return replace(found, requests=study.requests - before)
