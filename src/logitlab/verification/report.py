"""The forms of a report: a table for the terminal, Markdown, and JSON."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from logitlab.checks import counted
from logitlab.verification.finding import Claim, Finding
from logitlab.verification.observed import ASSUMPTIONS
from logitlab.verification.outcome import Outcome
from logitlab.verification.wording import harmless
from logitlab.version import __version__

__all__ = ["SCHEMA", "document", "markdown", "terminal"]

SCHEMA = 1
"""Of the JSON of a report."""

_KINDS = {
    "proven": "proven: by a race with that error",
    "observed": "observed: in answers that anybody can read",
    "reported": "reported: by the server itself",
}
_ASSUMED = "Races hold where answers are independent, the server stays as it is, and its "
_ASSUMED += "log-probabilities are right within their noise."
_WIDTH = 100
_ROOM = 40  # of a detail, the least that is legible
_INDENT = "    "  # of details that stand below
_SHOWN = 3  # explanations that are left, in a table


def terminal(result: Outcome, width: int = _WIDTH, cost: float | None = None) -> str:
    """Return the table that is printed.

    Parameters
    ----------
    result : Verification
    width : int
        Of a line. Where that leaves little room beside the other columns, details go below.
    cost : float, optional
        Of the tokens.
    """
    rows = [("parameter", "verdict", "known by", "detail", "requests"), *_rows(result)]
    fixed = [max(map(_width, column)) for column in list(zip(*rows, strict=True))[:3]]
    room = width - sum(fixed) - 8 - len("requests")
    is_below = room < _ROOM
    lines = [*_wrapped(_head(result, cost), width), ""]
    for name, verdict, known, detail, requests in rows:
        cells = [
            _padded(cell, wide) for cell, wide in zip((name, verdict, known), fixed, strict=True)
        ]
        front = "  ".join(cells)
        last = f"  {requests:>{len('requests')}}"
        if is_below:
            lines.append(front + last)
            told = "" if detail == "detail" else detail
            lines += [_INDENT + part for part in wrap(told, max(width, _ROOM) - len(_INDENT))]
            continue
        parts = wrap(detail, room) or [""]
        lines.append(f"{front}  {_padded(parts[0], room)}{last}".rstrip())
        lines += [" " * (sum(fixed) + 6) + part for part in parts[1:]]
    return "\n".join([*lines, *_wrapped(_foot(result), width)])


def markdown(result: Outcome, cost: float | None = None) -> str:
    """Return the table as Markdown."""
    head = ("parameter", "verdict", "known by", "detail", "requests")
    lines = [*(_escaped(line) for line in _head(result, cost)), ""]
    lines += [_line(head), _line(("---",) * 4 + ("---:",))]
    for name, *cells in _rows(result):
        first = f"`{name}`" if name in result.parameters else _escaped(name)
        lines.append(_line([first, *map(_escaped, cells)]))
    return "\n\n".join(["\n".join(lines), *(_escaped(line) for line in _foot(result) if line)])


def document(result: Outcome) -> dict[str, Any]:
    """Return a report as JSON has it: plain objects, infinite forecasts as null."""
    spending = result.spending
    defaults, dialects = result.others.get("defaults"), result.others.get("dialects")
    order = result.others.get("order")
    return {
        "schema": SCHEMA,
        "logitlab": __version__,
        "endpoint": {
            "url": result.url,
            "model": result.model,
            "answered": [
                {**identity._asdict(), "answers": count, "first": first}
                for identity, (count, first) in result.identities.items()
            ],
            "fingerprints": _named(result, "fingerprint"),
            "providers": _named(result, "provider"),
        },
        "alpha": result.alpha,
        "family_error": result.error,
        "cap": result.cap,
        "seed": result.seed,
        "sigma": result.noise,
        "requests": spending.requests,
        "recorded": spending.recorded,
        "retries": spending.retries,
        "tokens": {"prompt": spending.prompt_tokens, "completion": spending.completion_tokens},
        "started": result.started,
        "seconds": round(spending.seconds, 3),
        "stopped": result.stopped,
        "assumptions": list(ASSUMPTIONS),
        "notes": list(result.notes),
        "neutral": dict(result.neutral),
        "prompts": [dict(each) for each in result.prompts],
        "logprobs": {"meaning": result.meaning},
        "parameters": {key: _entry(found) for key, found in result.parameters.items()},
        "order": {
            "temperature": (order.scope if order else None) or "unknown",
            **_named_entry(order),
        },
        "dialects": {"alive": list(dialects.alive) if dialects else [], **_named_entry(dialects)},
        "defaults": {"alive": list(defaults.alive) if defaults else [], **_named_entry(defaults)},
        "others": {
            key: _entry(found)
            for key, found in result.others.items()
            if key not in ("order", "dialects", "defaults")
        },
        "log": result.log,
    }


def _named(result: Outcome, what: str) -> list[str]:
    names = (getattr(identity, what) for identity in result.identities)
    return list(dict.fromkeys(name for name in names if name is not None))


def _entry(found: Finding) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "verdict": found.verdict,
        "kind": found.kind,
        "error": found.error,
        "claims": [_claim(each) for each in found.claims],
        "alive": [{"rule": rule, "log_e": _finite(e)} for rule, e in found.alive.items()],
        "not_excluded": [
            {"rule": rule, "more_requests": _finite(more)}
            for rule, more in found.not_excluded.items()
        ],
        "requests": found.requests,
        "tokens": found.tokens,
        "detail": found.detail,
    }
    for key in ("says", "scope"):
        if getattr(found, key) is not None:
            entry[key] = getattr(found, key)
    if found.refused_values:
        entry["refused_values"] = dict(found.refused_values)
    return entry


def _named_entry(found: Finding | None) -> dict[str, Any]:
    """Return an entry whose explanations have gone elsewhere, with the evidence against each."""
    if found is None:
        return {"verdict": "cannot_tell", "kind": None, "requests": 0}
    entry = _entry(found)
    entry["ranking"] = [[each["rule"], each["log_e"]] for each in entry.pop("alive")]
    return entry


def _claim(claim: Claim) -> dict[str, Any]:
    used = claim.sent if claim.verdict == "honoured" else claim.used
    log_e = _finite(claim.log_e)
    return {"sent": claim.sent, "verdict": claim.verdict, "used": used, "log_e": log_e}


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


# Words.


def _head(result: Outcome, cost: float | None) -> Iterator[str]:
    spending = result.spending
    who = result.url or "a function"
    yield harmless(f"{who}, model {result.model}" if result.model else who)
    read = counted(spending.prompt_tokens, "token")
    tokens = f"{read} read and {spending.completion_tokens:,} written"
    if cost is not None:
        tokens += f", which cost {cost:.2f}" if cost >= 10 else f", which cost {cost:.2g}"
    asked = f"{counted(spending.requests, 'request')} (cap {result.cap}), {tokens}"
    if spending.retries:
        asked += f", {counted(spending.retries, 'request')} sent again"
    if spending.recorded:
        asked += f"; {counted(spending.recorded, 'answer')} from a log"
    yield asked
    raced = [each for each in result.findings.values() if each.is_raced]
    if raced:
        most = max(each.error for each in raced)
        errors = f"wrong with a chance of {most:g} at most"
        if len(raced) > 1:
            errors = f"each {errors}, all together {result.error:.2g}"
        yield f"{counted(len(raced), 'race')}, {errors}; noise of logits {result.noise:.3f}"
    # What hangs over all of it comes first.
    yield from map(harmless, result.notes)


def _foot(result: Outcome) -> Iterator[str]:
    yield ""
    findings = result.findings.values()
    if kinds := [words for kind, words in _KINDS.items() if any(f.kind == kind for f in findings)]:
        yield "; ".join(kinds) + "."
    if any(each.is_raced for each in findings):
        yield _ASSUMED
    if result.stopped:
        yield harmless(f"It ended early: {result.stopped}.")
        if late := [name for name, found in result.findings.items() if _is_late(found, result)]:
            yield f"That was before these, of which it cannot tell: {', '.join(late)}."


def _is_late(found: Finding, result: Outcome) -> bool:
    """Whether an examination ended before anything was asked about a parameter."""
    is_unasked = found.verdict == "cannot_tell" and not found.requests
    return is_unasked and result.stopped is not None and found.detail == result.stopped


def _rows(result: Outcome) -> Iterator[tuple[str, str, str, str, str]]:
    for name, found in result.findings.items():
        if _is_late(found, result):
            continue
        known: str = found.kind or "–"
        if found.kind == "proven" and found.error:
            known = f"proven, {found.error:g}"
        verdict = found.verdict.replace("_", " ")
        yield name, verdict, known, _detail(found), str(found.requests)


def _detail(found: Finding) -> str:
    parts = [found.detail]
    if found.scope:
        is_of_penalty = found.scope.startswith(("prompt", "output"))
        parts.append(f"counts {found.scope}" if is_of_penalty else found.scope)
    parts += _claims(found)
    parts += _rivals(found.not_excluded)
    if found.says:
        parts.append(f'"{found.says}"')
    refused = [value for value in found.refused_values if found.verdict != "refused"]
    if refused:
        parts.append(f"refused: {', '.join(refused)}")
    return "; ".join(_clause(part) for part in parts if part)


def _clause(text: str) -> str:
    """Return a sentence as a part of one."""
    text = harmless(text).removesuffix(".")
    is_word = text[1:2].islower() or text[1:2] == " "
    return text[0].lower() + text[1:] if is_word else text


def _claims(found: Finding) -> Iterator[str]:
    by: dict[str, list[Claim]] = {}
    for claim in found.claims:
        by.setdefault(claim.verdict, []).append(claim)
    words = {"honoured": "at", "refused": "refuses", "cannot_tell": "cannot tell at"}
    if found.verdict == "cannot_tell":
        words["cannot_tell"] = "sent"
    for verdict, word in words.items():
        if verdict in by:
            yield f"{word} {', '.join(_short(claim.sent) for claim in by[verdict])}"
    for claim in by.get("not_honoured", ()):
        used = "" if claim.used is None else f", which became {_short(claim.used)}"
        yield f"not at {_short(claim.sent)}{used}"


def _rivals(not_excluded: Mapping[str, float]) -> Iterator[str]:
    """Yield what is left: what more requests would exclude, and what none of these would."""
    nearest = sorted(not_excluded.items(), key=lambda rival: rival[1])
    hidden = f"and {len(nearest) - _SHOWN} more" if len(nearest) > _SHOWN else ""
    near = [f"{rule}{_more(more)}" for rule, more in nearest[:_SHOWN] if math.isfinite(more)]
    far = [rule for rule, more in nearest[:_SHOWN] if not math.isfinite(more)]
    if hidden:
        (far or near).append(hidden)
    if near:
        yield f"not excluded: {', '.join(near)}"
    if far:
        yield f"{'nor' if near else 'not excluded'} by any request here: {', '.join(far)}"


def _more(more: float) -> str:
    return f" (~{counted(math.ceil(more), 'request')} more)" if more > 0 else ""


def _short(value: Any) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_short(each)}" for key, each in value.items())
    return str(value)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text that Markdown takes for one: a server may say anything."""
    for sign in "\\|<[*`":
        text = text.replace(sign, "\\" + sign)
    return text


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    """Return lines that are none longer than a terminal, where words allow it."""
    parts = (
        wrap(line, max(width, _ROOM), break_long_words=False, break_on_hyphens=False)
        for line in lines
    )
    return [line for part in parts for line in part or [""]]
