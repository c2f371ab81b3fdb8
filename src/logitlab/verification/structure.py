r"""Are forms of texts enforced? ``response_format``, and ``structured_outputs`` with it.

These verdicts are *observed*. What is asked for is something that the model would not write by
itself: JSON where the prompt asks for one word of prose, one of three odd words under an odd name.
A form is honoured if all of 7 answers have it and none of 4 neutral ones has. If it did nothing,
and an answer had the form with probability q, that had the chance
:math:`q^7 (1 - q)^4 \le .0008`, whatever q is. Where a neutral answer has the form too, nothing
can be told.

An answer that is cut by ``max_tokens`` need only be the beginning of one of the form (`begins`).
One that is cut before it has begun tells nothing, and another is asked for. That an answer is
fenced as Markdown shows that the model was asked, not that it was held.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.drawn import ending
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.study import Study

__all__ = ["begins", "formats", "has_form", "observed", "repeated", "several"]

# A server that wants the word JSON in the prompt finds it.
PROMPT = "Name a colour in one plain word. Do not write JSON."
WORDS = ("qibbled", "zorvane", "wextant")
KEY = "ploomish"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {KEY: {"type": "string", "enum": list(WORDS)}},
    "required": [KEY],
    "additionalProperties": False,
}
_FORMATS: dict[str, dict[str, Any]] = {
    "json_object": {"type": "json_object"},
    "json_schema": {
        "type": "json_schema",
        "json_schema": {"name": "odd", "strict": True, "schema": SCHEMA},
    },
}
LENGTH = 48
EACH = 7
NEUTRAL = 4

# What may be missing at the end of a JSON text, in the order in which it is tried.
_MISSING = ("", '"', '":0', ":0", "0", '"x":0', "ull", "ll", "l", "rue", "ue", "e", "alse",
            "lse", "se", "null", 'n"', '0000"', '000"', '00"', '0"', '0000":0', 'n":0')  # fmt: skip


def begins(text: str) -> bool:
    r"""Whether a text is the beginning of a JSON object, or a whole one.

    Examples
    --------
    >>> [begins(text) for text in ('{"a": [1, {"b": "\\u00', '{"a": tr', '{"a"', '{"a": 1}')]
    [True, True, True, True]
    >>> [begins(text) for text in ('{a', '[1', 'Blue', '{"a": 1} and')]
    [False, False, False, False]
    """
    if not text.lstrip().startswith("{"):
        return False
    closers: list[str] = []
    inside = escaped = False
    for letter in text:
        if inside:
            inside = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        elif letter in "{[":
            closers.append("}" if letter == "{" else "]")
        elif letter in "}]" and (not closers or closers.pop() != letter):
            return False
    rest = "".join(reversed(closers))
    return any(_is_object(text + missing + rest) for missing in _MISSING)


def _is_object(text: str) -> bool:
    return isinstance(read(text), dict)


def read(text: str) -> Any:
    """Return a JSON value, None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_odd(value: Any) -> bool:
    """Whether a value validates under the schema of odd words."""
    return isinstance(value, dict) and list(value) == [KEY] and value[KEY] in WORDS


def _begins_odd(text: str) -> bool:
    """Whether a text is the beginning of one that validates, space aside."""
    dense = "".join(text.split())
    return any(json.dumps({KEY: word}).replace(" ", "").startswith(dense) for word in WORDS)


def has_form(kind: str, answer: Answer) -> bool | None:
    """Whether an answer is JSON of a kind; None where it is cut before it has begun, or missing.

    Parameters
    ----------
    kind : {"json_object", "json_schema"}
    answer : Answer

    Examples
    --------
    >>> def cut(text):
    ...     return Answer(200, {"choices": [{"text": text, "finish_reason": "length"}]})
    >>> has_form("json_object", cut('{"a": [1, 2')), has_form("json_object", cut("Blue, I"))
    (True, False)
    >>> has_form("json_schema", cut('{"a": [1, 2')), has_form("json_object", cut(" "))
    (False, None)
    """
    text = answer.text()
    if not answer.choices or (not text.strip() and ending(answer) != "stop"):
        return None
    value = read(text)
    if kind == "json_schema":
        return is_odd(value) or (ending(answer) == "length" and _begins_odd(text))
    return isinstance(value, dict) or (ending(answer) == "length" and begins(text))


def formats(study: Study) -> None:
    """See whether ``response_format`` is enforced, and ``structured_outputs`` read."""
    before = study.requests, study.tokens
    neutral: list[Answer] = []
    got: dict[str, list[Answer]] = {kind: [] for kind in _FORMATS}
    refused: dict[str, str] = {}
    try:
        neutral += [study.ask(PROMPT, LENGTH) for _ in range(NEUTRAL)]
        for kind, format_ in _FORMATS.items():
            has = partial(has_form, kind)
            words = repeated(study, got[kind], has, {"response_format": format_})
            if words is not None:
                refused[kind] = words
    finally:
        judged = {kind: observed(got[kind], neutral, partial(has_form, kind)) for kind in _FORMATS}
        spent = study.requests - before[0], study.tokens - before[1]
        study.findings["response_format"] = several(judged, refused, spent)
    _structured(study, judged["json_schema"][0])


def _structured(study: Study, schema: Verdict) -> None:
    """See whether ``structured_outputs`` false refuses a schema, as the page has it."""
    if schema != "honoured":
        return
    before = study.requests, study.tokens
    verdict: Verdict = "cannot_tell"
    detail = says = None
    try:
        asked = _FORMATS["json_schema"]
        no = study.ask(PROMPT, LENGTH, response_format=asked, structured_outputs=False)
        yes = study.ask(PROMPT, LENGTH, response_format=asked, structured_outputs=True)
        if yes.refused:
            verdict, says = "refused", yes.words
        elif no.refused:
            verdict, says = "honoured", no.words
            detail = "With a schema it is refused when false, and taken when true."
        else:
            held = has_form("json_schema", no)
            detail = {
                True: "False changes nothing: a schema is still held.",
                False: "With false a schema is taken, and not held.",
                None: "With false a schema is taken; whether it is held, the answer does not tell.",
            }[held]
            verdict = "cannot_tell" if held is not False else "honoured"
    finally:
        study.findings["structured_outputs"] = Finding(
            verdict, "observed", 0.0, (Claim(False, verdict),),
            requests=study.requests - before[0], tokens=study.tokens - before[1],
            detail=detail or "", says=says,
        )  # fmt: skip


def repeated(
    study: Study,
    got: list[Answer],
    has: Callable[[Answer], bool | None],
    asked: Mapping[str, Any],
    *,
    prompt: str = PROMPT,
    times: int = EACH,
    tokens: int = LENGTH,
) -> str | None:
    """Ask the same until several answers tell something, or twice as many are there.

    Returns
    -------
    str or None
        The words of a refusal, if there was one at once.
    """
    telling = 0
    while telling < times and len(got) < 2 * times:
        answer = study.ask(prompt, tokens, **asked)
        if answer.refused:
            return None if got else answer.words or ""
        got.append(answer)
        telling += has(answer) is not None
    return None


def observed(
    got: list[Answer], neutral: list[Answer], has: Callable[[Answer], bool | None]
) -> tuple[Verdict, str]:
    """Return what was seen of a form, and in how many answers.

    Parameters
    ----------
    got, neutral : list of Answer
        With the form asked for, and without.
    has : callable
        Whether an answer has it; None if it tells nothing.
    """
    asked = [held for held in map(has, got) if held is not None]
    usual = [held for held in map(has, neutral) if held is not None]
    seen = f"{sum(asked)} of {len(asked)} as asked" if asked else "not tried"
    seen += f", {sum(usual)} of {len(usual)} at neutral" if usual else ""
    if len(asked) >= EACH and all(asked):
        return ("honoured" if len(usual) >= NEUTRAL and not any(usual) else "cannot_tell"), seen
    if asked and not all(asked):
        return ("not_honoured" if any(asked) else "ignored"), seen
    return "cannot_tell", seen


def several(
    judged: Mapping[str, tuple[Verdict, str]], refused: Mapping[str, str], spent: tuple[int, int]
) -> Finding:
    """Return one finding of several values: their common verdict, "not_honoured" if some are."""
    verdicts: dict[str, Verdict] = {
        kind: "refused" if kind in refused else verdict for kind, (verdict, _) in judged.items()
    }
    told = set(verdicts.values())
    order: tuple[Verdict, ...] = ("not_honoured", "ignored", "honoured", "cannot_tell", "refused")
    verdict = next(each for each in order if each in told)
    if "honoured" in told and told & {"ignored", "refused"}:
        verdict = "not_honoured"
    parts = [f"{kind}: {judged[kind][1]}" for kind in judged if kind not in refused]
    return Finding(
        verdict, "observed", 0.0, tuple(Claim(kind, each) for kind, each in verdicts.items()),
        requests=spent[0], tokens=spent[1], detail="; ".join(parts) + ("." if parts else ""),
        says=next(iter(refused.values()), None), refused_values=dict(refused),
    )  # fmt: skip
