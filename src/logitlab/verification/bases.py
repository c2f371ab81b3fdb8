"""The stage that learns the neutral distribution after some prompts, and what is in force there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
from logitlab.verification.answer import Position, Token
from logitlab.verification.backgrounds import Backgrounds
from logitlab.verification.observed import Observed
from logitlab.verification.race import Drawn
from logitlab.verification.study import Study

__all__ = ["MOST_TOKENS", "PROMPTS", "bases", "drift"]

PROMPTS = (
    "Say yes or no.",
    "Tell me a first name.",
    "Name a city.",
    "Answer with heads or tails.",
    "Write a word.",
    "Give me one word that rhymes with day.",
    "Name an animal.",
    "Choose a letter.",
    "Name a colour of the rainbow.",
    "What is the capital of France?",
    "Pick a number from one to ten.",
    "Is the sky blue?",
)
"""Flat ones for cuts and low temperatures, peaked ones with a small rest for high ones."""

_MARK = re.compile(r"\s*(<\|.*\|>|</?s>|<(bos|eos|pad|unk|end_of_turn|start_of_turn)>|\[/?INST\])?")
_LEAST_TOKENS = 3
MOST_TOKENS = 100
_STILL = 1e-4  # nats, a scatter that only printing explains
_SURE = 5  # deviations of the scatter
_PAIRS = 3  # prompts that are asked twice in any case
_BACKGROUND = 20  # more neutral requests, for the race of backgrounds
_POOLED = 10


def bases(study: Study, requests: int = _BACKGROUND) -> None:
    """Ask neutral requests: what is likely after each prompt, how it scatters, what is in force.

    Sets `study.observed` and `study.backgrounds`. A prompt is left out if fewer than three tokens
    are told before the first that may arrive without a report, being half a character or a mark of
    the model's own, or if the rest is so flat that its tokens cannot be completed.

    Each of the first three prompts is asked twice; the others only if those have scattered.
    """
    told: dict[str, list[dict[Token, float]]] = {}
    study.backgrounds = backgrounds = Backgrounds(study.alpha)

    def ask(prompt: str) -> Position | None:
        positions = study.ask(prompt).positions()
        position = positions[0] if positions else None
        backgrounds.drawn.append((prompt, position))
        if position is not None and position.top:
            told.setdefault(prompt, []).append(position.likeliest(study.tops))
        return position

    prompts = study.prompts or PROMPTS
    try:
        for prompt in prompts:
            ask(prompt)
            if prompt in told and len(told) <= _PAIRS:
                ask(prompt)
        if _scatter(told) >= _STILL:
            for prompt in islice(told, _PAIRS, None):
                ask(prompt)
    finally:
        study.observed = _learnt(study, told)
    if _are_one(study):
        study.notes.append(
            "Every prompt is followed by the same distribution, as if it was not read: much cannot "
            "be told from one alone. Plain completions may tell more: plain=True, --plain."
        )
    cells = {prompt: backgrounds.cell(seen) for prompt, seen in study.observed.items()}

    def draw(prompt: str, position: Position | None) -> Drawn:
        seen = study.observed[prompt]
        own = seen.own(position)
        cell = backgrounds.expected.cell(seen, own) if own is not None else None
        return Drawn(seen.drawn(position, own), cell)

    def again(prompt: str) -> Drawn | None:
        answer = study.ask(prompt)
        if answer.refused:
            return None
        position = next(iter(answer.positions()), None)
        backgrounds.drawn.append((prompt, position))
        return draw(prompt, position)

    for prompt, position in tuple(backgrounds.drawn):
        if prompt in cells:
            category, cell = draw(prompt, position)
            known = cell or cells[prompt]
            backgrounds.race.update(
                prompt, known.central, known.envelope, category, known.reference
            )
    backgrounds.race.run(cells, again, requests)


def _are_one(study: Study) -> bool:
    """Whether all prompts of a chat are followed by one distribution."""
    rows = [dict(zip(seen.tokens, seen.logprobs, strict=True)) for seen in study.observed.values()]
    if not study.chat or len(rows) < 2:
        return False
    sigma = max(seen.sigma for seen in study.observed.values())
    first, near = rows[0], _SURE * math.hypot(sigma, _STILL)
    both = [[token for token in row if token in first] for row in rows]
    return all(
        2 * len(common) >= len(row) and all(abs(row[t] - first[t]) < near for t in common)
        for row, common in zip(rows, both, strict=True)
    )


def drift(study: Study, count: int = 2) -> float:
    """Ask neutral requests again: by how much the reports have moved since, in nats.

    The most of the likelier half of the tokens, in which the doubt of what was learnt and the
    scatter of one answer, each at 2.5 standard errors, are taken off.
    """
    flat = sorted(study.observed.values(), key=lambda seen: -seen.entropy)[:count]
    worst = 0.0
    for seen in flat:
        positions = study.ask(seen.prompt).positions()
        top: Mapping[Token, float] = positions[0].top if positions else {}
        half = zip(seen.tokens[: (seen.reported + 1) // 2], seen.logprobs, strict=False)
        moved = [abs(top[token] - told) for token, told in half if token in top]
        free = seen.doubt * (1 + math.sqrt(seen.replies))
        worst = max(worst, max(moved, default=math.inf) - free)
    return worst


def _learnt(study: Study, told: Mapping[str, Sequence[dict[Token, float]]]) -> dict[str, Observed]:
    sigma = _scatter(told)
    found = {}
    for prompt, replies in told.items():
        whole = _whole(replies)
        if len(whole) < _LEAST_TOKENS:
            continue
        kept = [{token: reply[token] for token in whole} for reply in replies]
        seen = Observed.of(
            prompt,
            kept,
            sigma=sigma if sigma >= _STILL else 0.0,
            vocabulary=study.vocabulary,
        )
        if not seen.is_too_flat:
            found[prompt] = seen
    return found


def _whole(replies: Sequence[dict[Token, float]]) -> list[Token]:
    """Return the likeliest tokens that all replies tell, before the first that may not be told."""
    first = sorted(replies[0], key=lambda token: -replies[0][token])
    whole: list[Token] = []
    for token in first[:MOST_TOKENS]:
        if _may_be_hidden(token) or any(token not in reply for reply in replies):
            break
        whole.append(token)
    return whole


def _may_be_hidden(token: Token) -> bool:
    if isinstance(token, bytes):
        try:
            text = token.decode()
        except UnicodeDecodeError:
            return True
    else:
        text = token
    return not text or "\ufffd" in text or bool(_MARK.fullmatch(text) and text.strip())


def _scatter(told: Mapping[str, Sequence[dict[Token, float]]]) -> float:
    """Return the scatter of a log-probability, pooled over the likeliest tokens of each prompt."""
    squares: list[float] = []
    for replies in told.values():
        common = _whole(replies)[:_POOLED]
        if len(replies) > 1 and common:
            values = np.array([[reply[token] for token in common] for reply in replies])
            squares += values.var(axis=0, ddof=1).tolist()
    return math.sqrt(np.mean(squares)) if squares else 0.0
